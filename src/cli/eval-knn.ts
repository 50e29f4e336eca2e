/** `dino eval knn`: see src/eval/knn.ts. */
import type { Command } from 'commander';
import type { KnnResult } from '../eval/knn.js';
import { addExamples, check, type Invocation, listOption, readNumber, setAliases } from './command.js';
import {
  addEvalOptions,
  addLabelledOptions,
  evalAliases,
  keepResult,
  onModel,
  readEvalOptions,
  readLabelled,
  readList,
} from './eval-options.js';
import { addProcessOptions } from './processes.js';

export function define(command: Command): void {
  command.argument('[weights]', 'run folder, checkpoint folder or weights file; not with --load-features');
  addLabelledOptions(
    command,
    'labelled images that neighbours are looked up in',
    'labelled images that are classified',
  );
  command.addOption(
    listOption(command.createOption('--k <n,n>', 'numbers of neighbours').default('10,20,100,200')),
  );
  command
    .option('--temperature <n>', 'temperature of the votes', '0.07')
    .option('--dump-features <folder>', 'write the features there')
    .option('--load-features <folder>', 'read features that --dump-features wrote, in place of a model');
  addEvalOptions(command, 128);
  addProcessOptions(command);
  setAliases(command, { ...evalAliases, '--nb-knn': '--k' });
  addExamples(
    command,
    'dino eval knn runs/first --train imagenette/train --val imagenette/val --dump-features features',
    'dino eval knn --load-features features --k 5,10',
  );
}

function table(result: KnnResult, ks: readonly number[]): string {
  const { valImages, classes, trainImages, resize, crop } = result;
  return [
    `${valImages} images of ${classes} classes against ${trainImages}` +
      (crop > 0 ? `, resize ${resize}, crop ${crop}` : ''),
    ...ks.map(
      (k) =>
        `k ${String(k).padStart(4)}   top-1 ${result.top1[k]!.toFixed(2)}%   top-5 ${result.top5[k]!.toFixed(2)}%`,
    ),
  ].join('\n');
}

export async function run(invocation: Invocation): Promise<void> {
  const { args, options, io } = invocation;
  const common = readEvalOptions(invocation);
  const k = readList(invocation, 'k');
  const temperature = readNumber(invocation, 'temperature', { min: 1e-6, whole: false });
  const dumpFeatures = options['dumpFeatures'] as string | undefined;
  const loadFeatures = options['loadFeatures'] as string | undefined;
  if (loadFeatures !== undefined) {
    const alone = dumpFeatures === undefined && args.length === 0;
    check(invocation, alone ? [] : ['--load-features stands alone: without weights and --dump-features']);
    const { evaluateKnnFeatures } = await import('../eval/knn.js');
    const { availableDevices } = await import('../torch/index.js');
    const named = options['device'] as string;
    const device = named === 'auto' ? (availableDevices()[0] ?? 'cpu') : named;
    const result = evaluateKnnFeatures(loadFeatures, {
      ...{ k, temperature, device },
      onWarning: (message) => io.warn(message),
    });
    io.result(result, table(result, k));
    return;
  }
  const folders = readLabelled(invocation);
  if (args.length === 0) invocation.problems.push('argument <weights> is missing, or --load-features');
  await onModel(invocation, async ({ model, world, io, signal, count }) => {
    const { evaluateKnn } = await import('../eval/knn.js');
    const result = await evaluateKnn(model, {
      ...common,
      ...folders,
      k,
      temperature,
      ...(dumpFeatures === undefined ? {} : { dumpFeatures }),
      signal,
      world,
      onProgress: ({ part, done, total }) => count(`features of ${part}`, done, total),
      onWarning: (message) => io.warn(message),
    });
    if (result.skipped.length > 0) io.warn(`${result.skipped.length} unreadable images left out`);
    io.warnOfLists(result);
    if (world.isFirst) await keepResult(io, model, 'knn', { ...folders, temperature, ...result });
    io.result(result, table(result, k));
  });
}
