/** `dino eval linear`: see src/eval/linear.ts. */
import type { Command } from 'commander';
import path from 'node:path';
import {
  addExamples,
  booleanOption,
  check,
  interruptSignal,
  type Invocation,
  readNumber,
  setAliases,
} from './command.js';
import {
  addEvalOptions,
  addLabelledOptions,
  counter,
  evalAliases,
  keepResult,
  loadForEvaluation,
  readBoolean,
  readEvalOptions,
  readLabelled,
} from './eval-options.js';

export function define(command: Command): void {
  command.argument('<weights>', 'run folder, checkpoint folder or weights file');
  addLabelledOptions(
    command,
    'labelled images that the classifier is trained on',
    'labelled images that it is measured on',
  );
  command
    .option('--output <folder>', 'checkpoint and log; resumed from (default: evaluations/linear of the run)')
    .option(
      '--n-last-blocks <n>',
      'blocks whose class tokens are concatenated (default: 4, or all of fewer)',
    );
  command.addOption(
    booleanOption(
      command.createOption('--avgpool-patchtokens <bool>', "add the mean of the last block's patch tokens"),
    ),
  );
  command
    .option('--epochs <n>', 'epochs of training', '100')
    .option('--lr <n>', 'learning rate for a batch of 256, scaled by the batch size', '0.001')
    .option('--val-freq <n>', 'validate every so many epochs', '1')
    .option('--num-labels <n>', 'outputs of the classifier (default: the training folders)')
    .option('--seed <n>', 'of the initial weights, the order and the crops', '0')
    .option('--evaluate', 'only measure the classifier of --linear-weights')
    .option('--linear-weights <file>', 'a classifier, such as the checkpoint of an earlier evaluation');
  addEvalOptions(command, 128);
  setAliases(command, evalAliases);
  addExamples(command, 'dino eval linear runs/first --data-path imagenette --epochs 20 --lr 0.01');
}

export async function run(invocation: Invocation): Promise<void> {
  const { options, io } = invocation;
  const common = readEvalOptions(invocation);
  const folders = readLabelled(invocation);
  const given = (name: string) =>
    options[name] === undefined ? {} : { [name]: readNumber(invocation, name, { min: 1 }) };
  const settings = {
    epochs: readNumber(invocation, 'epochs', { min: 1 }),
    lr: readNumber(invocation, 'lr', { min: 1e-12, whole: false }),
    valFreq: readNumber(invocation, 'valFreq', { min: 1 }),
    seed: readNumber(invocation, 'seed', { min: 0 }),
    avgpoolPatchtokens: readBoolean(invocation, 'avgpoolPatchtokens'),
    ...given('nLastBlocks'),
    ...given('numLabels'),
  };
  const linearWeights = options['linearWeights'] as string | undefined;
  if ((options['evaluate'] === true) !== (linearWeights !== undefined)) {
    invocation.problems.push('--evaluate and --linear-weights FILE go together');
  }
  check(invocation);
  const interrupt = interruptSignal(() =>
    io.note('interrupted: the same command goes on from the last epoch'),
  );
  try {
    const { evaluateLinear } = await import('../eval/linear.js');
    const { runOfWeights } = await import('../eval/save-evaluation.js');
    const { evaluationsPath } = await import('../run/run-folder.js');
    const model = await loadForEvaluation(invocation);
    const ofRun = runOfWeights(model.file);
    const output =
      (options['output'] as string | undefined) ??
      (ofRun === null ? undefined : path.join(evaluationsPath(ofRun), 'linear'));
    if (output === undefined && linearWeights === undefined) {
      io.warn('no --output, and the weights belong to no run: nothing to resume from is kept');
    }
    const count = counter(io);
    const result = await evaluateLinear(model, {
      ...common,
      ...folders,
      ...settings,
      ...(output === undefined ? {} : { output }),
      ...(linearWeights === undefined ? {} : { linearWeights }),
      signal: interrupt.signal,
      onProgress: ({ part, epoch, done, total }) =>
        count(`epoch ${epoch + 1}/${settings.epochs} ${part}`, done, total),
      onEpoch: ({ epoch, trainLoss, top1 }) =>
        io.note(
          `epoch ${epoch + 1}/${settings.epochs}: loss ${trainLoss.toFixed(4)}` +
            (top1 === undefined ? '' : `, top-1 ${top1.toFixed(2)}%`),
        ),
      onWarning: (message) => io.warn(message),
    });
    if (result.skipped.length > 0) io.warn(`${result.skipped.length} unreadable images left out`);
    io.warnOfLists(result);
    await keepResult(io, model, 'linear', { ...folders, ...result });
    const { top1, top5, bestTop1, valImages, classes, trainImages } = result;
    io.result(
      result,
      `${valImages} images of ${classes} classes, trained on ${trainImages}, resize ${result.resize}, crop ${result.crop}\n` +
        `top-1 ${top1.toFixed(2)}%   ${top5 === null ? '' : `top-5 ${top5.toFixed(2)}%   `}best top-1 ${bestTop1.toFixed(2)}%`,
    );
  } finally {
    interrupt.release();
  }
}
