/** From typing `dino train` to the start of its first step: a whole process each time. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { contestant } from './contestant.mjs';

const c = JSON.parse(process.argv[2]);
const dino = fileURLToPath(new URL('../bin/dino.js', import.meta.url));

await contestant(
  () =>
    new Promise((resolve, reject) => {
      const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-bench-'));
      // the reference tries no precisions, so neither does this
      const flags = ['--batch-size', '8', '--precision', 'fp32', '--log-every', '1'];
      flags.push('--output', path.join(folder, 'run'));
      const child = spawn(process.execPath, [dino, 'train', `${c.data}/photos`, ...flags]);
      let text = '';
      const look = (chunk) => {
        text += chunk;
        if (text.includes('\ntraining: ')) child.kill('SIGKILL'); // printed when the loop starts
      };
      child.stdout.on('data', look);
      child.stderr.on('data', look);
      child.on('close', () => {
        rmSync(folder, { recursive: true, force: true });
        if (text.includes('\ntraining: ')) resolve(1);
        else reject(new Error(text));
      });
    }),
);
