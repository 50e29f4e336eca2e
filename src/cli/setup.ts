/** `dino setup`: see src/doctor/set-up.ts. */
import { z } from 'zod';
import { progressLines } from '../../scripts/fetch-libtorch.mjs';
import { setUp } from '../doctor/set-up.js';
import { defineCommand } from './command.js';
import { pick } from './flags.js';

export const command = defineCommand({
  options: {
    compile: z.boolean().default(false).describe('compile the addons here, also where they came prebuilt'),
    dryRun: z.boolean().default(false).describe('only say what is missing and what would be done'),
  },
  examples: ['dino setup', 'dino setup --dry-run', 'DINO_CACHE=/scratch/cache dino setup'],

  async run({ options, io }) {
    const say = (line: string): void => {
      io.note(line);
    };
    const result = await setUp({
      ...pick(options, 'compile', 'dryRun'),
      onLine: say,
      onProgress: progressLines(say),
    });
    io.result(
      result,
      result.version === null
        ? `libtorch would be in ${result.libtorch}; nothing was done`
        : `Ready: libtorch ${result.version} in ${result.libtorch}`,
    );
  },
});
