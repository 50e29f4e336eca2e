/** `dino index`: embeds images into an index on disk; see src/explore/build-index.ts. */
import type { Command } from 'commander';
import { addExamples, check, interruptSignal, type Invocation, setAliases } from './command.js';
import {
  addEvalOptions,
  counter,
  evalAliases,
  loadForEvaluation,
  readEvalOptions,
  readWeightsOptions,
} from './eval-options.js';

const KINDS = ['cls', 'patch-mean'] as const;

export function define(command: Command): void {
  command
    .argument('<weights>', 'run folder, checkpoint folder, .safetensors or .pth file')
    .argument('<images>', 'folder of images, or a text file of paths')
    .option('-o, --output <folder>', 'the index: a new folder, or the index to bring up to date')
    .option('--features <kind>', `${KINDS.join(' or ')}; patch-mean finds regions within their image`, 'cls');
  addEvalOptions(command, 64);
  setAliases(command, evalAliases);
  addExamples(
    command,
    'dino index runs/first photos --output photos.index',
    'dino search photos.index photos/cat.jpg',
  );
}

export async function run(invocation: Invocation): Promise<void> {
  const { args, options, io, problems } = invocation;
  const common = readEvalOptions(invocation);
  const features = options['features'] as (typeof KINDS)[number];
  const output = options['output'] as string | undefined;
  if (!KINDS.includes(features)) problems.push(`--features is ${features}; expected ${KINDS.join(' or ')}`);
  if (output === undefined) problems.push('--output is missing: a folder for the index');
  check(invocation);
  const interrupt = interruptSignal(() => io.note('interrupted: writing what is embedded'));
  try {
    const { buildIndex } = await import('../explore/build-index.js');
    const model = await loadForEvaluation(invocation);
    const count = counter(io);
    const start = performance.now();
    const result = await buildIndex(model, args[1]!, {
      ...common,
      ...{ output: output!, features, signal: interrupt.signal },
      weights: {
        given: args[0]!,
        ...readWeightsOptions(invocation),
      },
      onWait: (message) => io.note(message),
      onProgress: ({ part, done, total }) => {
        if (total > 0) count(part === 'images' ? 'images' : 'checked searches', done, total);
      },
    });
    const seconds = (performance.now() - start) / 1000;
    for (const { path, reason } of result.skipped) io.warn(`skipped ${path}: ${reason}`);
    io.warnOfLists(result);
    if (result.rebuilt !== null) io.warn(`embedded everything anew: ${result.rebuilt}`);
    const { images, added, changed, removed, width, recall, skipped } = result;
    io.result(
      { ...result, seconds },
      `${output!}: ${images} images of ${width} values; ${added} new, ${changed} changed, ${removed} removed, ` +
        `${skipped.length} skipped, ${result.leftOut.count} left out, ${seconds.toFixed(1)} s` +
        (recall < 1 ? `; approximate search finds ${(100 * recall).toFixed(1)}% of the ten nearest` : ''),
    );
  } finally {
    interrupt.release();
  }
}
