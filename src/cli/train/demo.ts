/** `dino demo`: see src/demo/demo.ts. */
import { pathToFileURL } from 'node:url';
import { z } from 'zod';
import { shellPath } from '../../plain/shell.js';
import type { DemoEvent } from '../../demo/demo.js';
import { defineCommand } from '../command.js';
import { pick, seed } from '../flags.js';
import { interruptible } from '../interrupt.js';
import { formatDuration } from '../../plain/units.js';
import { TrainProgress } from './progress.js';

const PARTS: Record<Extract<DemoEvent, { type: 'part' }>['part'], string> = {
  scenes: '1/5 making images: objects on light grey noise',
  before: '2/5 measuring the network before it has learned anything',
  train: '3/5 training without labels; this takes most of the time',
  after: '4/5 measuring the trained network',
  report: '5/5 writing the report',
};

export const command = defineCommand({
  options: {
    output: z.string().default('demo-run').meta({
      description: 'where images, run and report go',
      placeholder: '<folder>',
      short: '-o',
    }),
    seed: seed().default(0).describe('seed of images, weights and training'),
  },
  examples: ['dino demo', 'dino demo --output demo-run --seed 1'],

  async run({ options, io }) {
    const progress = new TrainProgress();
    await interruptible(
      () => progress.note('interrupted: stopping (again to stop at once)'),
      async (signal) => {
        try {
          const { runDemo } = await import('../../demo/demo.js');
          const { figures, summary, ...files } = await runDemo({
            ...pick(options, 'output', 'seed'),
            signal,
            onEvent: (event) => {
              if (event.type === 'train') {
                // of its checkpoints only the last matters here
                if (event.event.type !== 'checkpoint') progress.handle(event.event);
              } else if (event.type === 'part') {
                progress.stop();
                io.note(PARTS[event.part]);
              } else if (event.type === 'measured') {
                io.note(
                  `  k-NN ${event.knn.toFixed(1)}%, attention on the object ${event.jaccard.toFixed(1)} of 100`,
                );
              } else if (event.done === event.total) {
                io.note(`  ${event.total} images${event.reused ? ', made before' : ''}`);
              }
            },
          });
          progress.stop();
          const section = (title: string, sentences: readonly string[]): string[] =>
            sentences.length > 0 ? ['', title, ...sentences.map((sentence) => `  - ${sentence}`)] : [];
          const lines = [
            summary.headline,
            ...section('What improved:', summary.improved),
            ...section('What did not:', summary.notImproved),
            '',
            `${formatDuration(figures.seconds.total)} in all. The report: ${pathToFileURL(files.report).href}`,
            `See how its attention emerged: dino studio ${shellPath(options.output)}`,
            `The model: ${files.run}; try: dino attention ${shellPath(files.run)} IMAGE --image-size 64 --output maps`,
          ];
          io.result({ ...figures, summary, ...files }, lines.join('\n'));
        } finally {
          progress.stop();
        }
      },
    );
  },
});
