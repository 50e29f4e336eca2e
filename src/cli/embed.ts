/** `dino embed`: features of images to a file; see src/eval/embed.ts and src/eval/write-features.ts. */
import type { Command } from 'commander';
import { addExamples, type Invocation, readNumber, setAliases } from './command.js';
import { addEvalOptions, evalAliases, onModel, readEvalOptions } from './eval-options.js';
import { addProcessOptions } from './processes.js';

const KINDS = ['cls', 'patch-mean', 'patches'] as const;
const FORMATS = ['.safetensors', '.npy', '.parquet'];

export function define(command: Command): void {
  command
    .argument('<weights>', 'run folder, checkpoint folder, .safetensors or .pth file')
    .argument('<images>', 'folder of images, text file of paths, or shards')
    .option('-o, --output <file>', `${FORMATS.join(', ')}: the ending decides`)
    .option('--features <kind>', `${KINDS.join(', ')}`, 'cls')
    .option('--layers <n>', 'how many of the last blocks are concatenated', '1');
  addEvalOptions(command, 64);
  addProcessOptions(command);
  setAliases(command, evalAliases);
  addExamples(
    command,
    'dino embed runs/first photos --output features.safetensors',
    'dino embed runs/first photos --output features.parquet --features patch-mean --layers 4',
  );
}

export async function run(invocation: Invocation): Promise<void> {
  const { args, options, problems } = invocation;
  const common = readEvalOptions(invocation);
  const layers = readNumber(invocation, 'layers', { min: 1, max: 1000 });
  const features = options['features'] as (typeof KINDS)[number];
  const output = options['output'] as string | undefined;
  if (!KINDS.includes(features))
    problems.push(`--features is ${features}; expected one of ${KINDS.join(', ')}`);
  if (output === undefined) problems.push('--output is missing: a file name');
  else if (!FORMATS.some((ending) => output.endsWith(ending))) {
    problems.push(`--output is ${output}; expected a name that ends in ${FORMATS.join(', ')}`);
  }
  await onModel(invocation, async ({ model, world, io, signal, count }) => {
    const { assertFeaturesWritable, writeFeatures } = await import('../eval/write-features.js');
    if (world.isFirst) assertFeaturesWritable(output!);
    const start = performance.now();
    const result = await model.embed(args[1]!, {
      ...common,
      layers,
      features,
      signal,
      world,
      onProgress: ({ done, total }) => count('images', done, total),
    });
    const files = world.isFirst ? await writeFeatures(output!, result) : [];
    const seconds = (performance.now() - start) / 1000;
    for (const { path, reason } of result.skipped) io.warn(`skipped ${path}: ${reason}`);
    io.warnOfLists(result);
    const { shape, skipped, leftOut } = result;
    io.result(
      { files, shape, features, layers, skipped, leftOut, seconds },
      `${files.join(', ')}: [${shape.join(', ')}] float32, ${skipped.length} skipped, ${leftOut.count} left out, ${seconds.toFixed(1)} s`,
    );
  });
}
