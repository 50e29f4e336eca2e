/** What the commands on a trained model share: options, progress, and how the work is framed. */
import cliProgress from 'cli-progress';
import type { Command } from 'commander';
import path from 'node:path';
import type { World } from '../../processes/world.js';
import type { Model } from '../../model.js';
import type { ModelOrigin } from '../../weights/loaded-model.js';
import { type AliasMap, check, type Invocation, listOption, type Output, readNumber } from '../command.js';
import { inProcesses, stopSignal } from '../train/processes.js';

/** What says which network a file of weights is read as; readWeightsOptions() reads them. */
export function addWeightsOptions(command: Command): void {
  command
    .option(
      '--checkpoint-key <name>',
      "teacher, student, or a part of the tensors' names such as momentum_encoder (default: teacher, or the only one)",
    )
    .option(
      '--num-heads <n>',
      'attention heads of a lone file that says nothing of them (a run knows its own)',
    );
}

export interface WeightsFlags {
  checkpointKey?: string;
  numHeads?: number;
}

/** Reads the options of addWeightsOptions; what is wrong goes to the invocation's problems. */
export function readWeightsOptions(invocation: Invocation): WeightsFlags {
  const { checkpointKey, numHeads } = invocation.options;
  return {
    ...(checkpointKey === undefined ? {} : { checkpointKey: checkpointKey as string }),
    ...(numHeads === undefined
      ? {}
      : { numHeads: readNumber(invocation, 'numHeads', { min: 1, max: 65536 }) }),
  };
}

/** Says what the weights leave open, once a command. */
export function sayOfWeights(io: Output, { notes, warnings }: Pick<ModelOrigin, 'notes' | 'warnings'>): void {
  for (const note of notes) io.note(note);
  for (const warning of warnings) io.warn(warning);
}

export function addModelOptions(command: Command): void {
  addWeightsOptions(command);
  command.option('--device <name>', 'auto, cpu, cuda:0 or mps', 'auto');
}

export function addEvalOptions(command: Command, batchSize: number): void {
  addModelOptions(command);
  command
    .option('--resize <n>', "shorter side, pixels (default: 256/224 of the model's own size, so 256 at 224)")
    .option('--crop <n>', "central crop, pixels (default: the model's own size, 224 for the paper's)");
  addLoaderOptions(command, batchSize);
}

export function addLoaderOptions(command: Command, batchSize: number): void {
  command
    .option('--batch-size <n>', 'images at a time', String(batchSize))
    .option('--num-workers <n>', 'loader workers', '2');
}

/** The reference's names. */
export const evalAliases: AliasMap = { '--batch-size-per-gpu': '--batch-size', '--output-dir': '--output' };

export interface LoaderFlags {
  batchSize: number;
  numWorkers: number;
}

export interface EvalFlags extends LoaderFlags {
  resize?: number;
  crop?: number;
}

/** Reads the options of addLoaderOptions; what is wrong goes to the invocation's problems. */
export function readLoaderOptions(invocation: Invocation): LoaderFlags {
  return {
    batchSize: readNumber(invocation, 'batchSize', { min: 1, max: 65536 }),
    numWorkers: readNumber(invocation, 'numWorkers', { min: 0, max: 256 }),
  };
}

/** Reads the options of addEvalOptions; what is wrong goes to the invocation's problems. */
export function readEvalOptions(invocation: Invocation): EvalFlags {
  const size = (name: 'resize' | 'crop') =>
    invocation.options[name] === undefined
      ? {}
      : { [name]: readNumber(invocation, name, { min: 1, max: 8192 }) };
  return {
    ...size('resize'),
    ...size('crop'),
    ...readLoaderOptions(invocation),
  };
}

/** The two folders of --train and --val, or `train` and `val` in that of --data-path. */
export function addLabelledOptions(command: Command, train: string, val: string): void {
  command
    .option('--train <folder>', train)
    .option('--val <folder>', val)
    .option('--data-path <folder>', 'a folder with both: its train and val folders');
}

/** Reads the options of addLabelledOptions; what is missing goes to the invocation's problems. */
export function readLabelled({ options, problems }: Invocation): { train: string; val: string } {
  const root = options['dataPath'] as string | undefined;
  const read = (name: 'train' | 'val'): string => {
    const given = options[name] as string | undefined;
    if (given !== undefined) return given;
    if (root !== undefined) return path.join(root, name);
    problems.push(`--${name} is missing: a folder with one folder a class`);
    return '';
  };
  return { train: read('train'), val: read('val') };
}

/** Keeps a result with the run that the weights belong to, and says where. */
export async function keepResult(io: Output, model: Model, name: string, result: object): Promise<void> {
  const { saveEvaluation } = await import('../../eval/save-evaluation.js');
  const file = saveEvaluation(model.file, name, result);
  if (file !== null) io.note(`kept in ${file}`);
}

/** A booleanOption's value; false when it is not given. */
export function readBoolean({ options }: Invocation, name: string): boolean {
  return /^(true|on|yes|1)$/i.test((options[name] as string | undefined) ?? '');
}

/** A list option as whole numbers of at least 1. */
export function readList(invocation: Invocation, name: string): number[] {
  const raw = String(invocation.options[name]);
  const values = raw.split(',').map((part) => (part.trim() === '' ? NaN : Number(part)));
  if (values.some((value) => !Number.isInteger(value) || value < 1)) {
    invocation.problems.push(
      `--${name} is ${raw}; expected whole numbers, at least 1, as in --${name} 10,20`,
    );
  }
  return values;
}

/** `--image-size 480` or `--image-size 480,854`, for what keeps an image's shape. */
export function addImageSizeOption(command: Command, usual = "about twice the model's own size"): void {
  command.addOption(
    listOption(
      command.createOption('--image-size <n,n>', `shorter side, or height,width, pixels (default: ${usual})`),
    ),
  );
}

/** Reads addImageSizeOption's value as the functions take it; empty when it was not given. */
export function readImageSize(invocation: Invocation): {
  imageSize?: number | readonly [height: number, width: number];
} {
  const { options, problems } = invocation;
  if (options['imageSize'] === undefined) return {};
  options['image-size'] = options['imageSize'];
  const [first = 0, second, ...more] = readList(invocation, 'image-size');
  if (more.length > 0) problems.push('--image-size takes one number or two');
  return { imageSize: second === undefined ? first : ([first, second] as const) };
}

/** Loads the model that the first argument names; of several processes each on a CUDA device of its own. */
export async function loadForEvaluation(invocation: Invocation, world?: World): Promise<Model> {
  const { args, options, io } = invocation;
  const { loadModel } = await import('../../model.js');
  if (world !== undefined && world.size > 1 && /^(auto|cuda)$/.test(options['device'] as string)) {
    const { cudaDeviceCount } = await import('../../torch/index.js');
    if (cudaDeviceCount() > 0) options['device'] = `cuda:${world.localRank}`;
  }
  const which = readWeightsOptions(invocation);
  check(invocation);
  const model = loadModel(args[0]!, { ...which, device: options['device'] as string });
  sayOfWeights(io, model.origin);
  const { arch, embedDim, patchSize } = model.architecture;
  io.note(`${model.file}: ${arch}, width ${embedDim}, patch ${patchSize}, on ${model.device}`);
  return model;
}

/** What a command has to work with in each of its processes. */
export interface ModelWork {
  model: Model;
  world: World;
  /** Prints for rank 0 alone. */
  io: Output;
  signal: AbortSignal;
  count: ReturnType<typeof counter>;
}

/** inProcesses() with the model that the first argument names, which Ctrl-C interrupts. */
export async function onModel(
  invocation: Invocation,
  work: (work: ModelWork) => Promise<void>,
): Promise<void> {
  await inProcesses(invocation, async (world, io) => {
    const interrupt = stopSignal(() => io.note('interrupted'));
    try {
      const model = await loadForEvaluation({ ...invocation, io }, world);
      await work({ model, world, io, signal: interrupt.signal, count: counter(io) });
    } finally {
      interrupt.release();
    }
  });
}

/** Shows progress: a bar on a terminal, a line at every tenth elsewhere. */
export function counter(io: Output): (what: string, done: number, total: number) => void {
  let lastTenth = -1;
  let lastWhat = '';
  let bar: cliProgress.SingleBar | null = null;
  io.atEnd(() => bar?.stop());
  return (what, done, total) => {
    if (io.isSilent) return;
    if (process.stderr.isTTY) {
      if (bar === null) {
        bar = new cliProgress.SingleBar({
          stream: process.stderr,
          format: '{bar} {what}: {value}/{total} | {eta_formatted} left',
          barsize: 24,
          hideCursor: true,
          linewrap: false,
          fps: 8,
          gracefulExit: false, // Ctrl-C is the command's
        });
        bar.start(total, done, { what });
      } else {
        bar.update(done, { what });
      }
      if (done >= total) {
        bar.stop();
        bar = null;
      }
      return;
    }
    const tenth = Math.floor((10 * done) / total);
    if (what === lastWhat && tenth === lastTenth) return;
    lastTenth = tenth;
    lastWhat = what;
    io.note(`${what}: ${done}/${total}`);
  };
}
