/** `dino demo`: see src/demo/demo.ts. */
import type { Command } from 'commander';
import { pathToFileURL } from 'node:url';
import { shellPath } from '../../plain/shell.js';
import type { DemoEvent } from '../../demo/demo.js';
import { addExamples, check, interruptSignal, type Invocation, readNumber } from '../command.js';
import { formatDuration } from '../../plain/units.js';
import { TrainProgress } from './progress.js';

export function define(command: Command): void {
  command
    .option('-o, --output <folder>', 'where images, run and report go', 'demo-run')
    .option('--seed <n>', 'seed of images, weights and training', '0');
  addExamples(command, 'dino demo', 'dino demo --output demo-run --seed 1');
}

const PARTS: Record<Extract<DemoEvent, { type: 'part' }>['part'], string> = {
  scenes: '1/5 making images: objects on light grey noise',
  before: '2/5 measuring the network before it has learned anything',
  train: '3/5 training without labels; this takes most of the time',
  after: '4/5 measuring the trained network',
  report: '5/5 writing the report',
};

export async function run(invocation: Invocation): Promise<void> {
  const { options, io } = invocation;
  const output = options['output'] as string;
  const seed = readNumber(invocation, 'seed', { min: 0, max: Number.MAX_SAFE_INTEGER });
  check(invocation);
  const progress = new TrainProgress();
  const interrupt = interruptSignal(() => progress.note('interrupted: stopping (again to stop at once)'));
  try {
    const { runDemo } = await import('../../demo/demo.js');
    const { figures, summary, ...files } = await runDemo({
      output,
      seed,
      signal: interrupt.signal,
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
      `The model: ${files.run}; try: dino attention ${shellPath(files.run)} IMAGE --image-size 64 --output maps`,
    ];
    io.result({ ...figures, summary, ...files }, lines.join('\n'));
  } finally {
    progress.stop();
    interrupt.release();
  }
}
