/** What the evaluations share: options, keeping the result, and how the work is framed. */
import path from 'node:path';
import { z } from 'zod';
import type { ChosenPrecision } from '../../eval/feature-precision.js';
import { PRECISION_CHOICES, type PrecisionChoice } from '../../plain/precisions.js';
import type { Model } from '../../model.js';
import type { World } from '../../processes/world.js';
import { type Counter, counter } from '../counter.js';
import { type Parsed, pick, whole } from '../flags.js';
import { stopSignal } from '../interrupt.js';
import type { Output } from '../output.js';
import { inProcesses, type ProcessOptions } from '../train/processes.js';
import { type ModelOptions, modelOptions, openModel } from '../weights/options.js';

export const loaderOptions = (batchSize: number) => ({
  batchSize: whole(1, 65536)
    .default(batchSize)
    .meta({ description: 'images at a time', aliases: ['--batch-size-per-gpu'] }),
  numWorkers: whole(0, 256).default(2).describe('loader workers'),
});

/** Options of what embeds images: the model, the size of the images, the loader. */
export const evalOptions = (batchSize: number) => ({
  ...modelOptions,
  resize: whole(1, 8192)
    .optional()
    .describe("shorter side, pixels (default: 256/224 of the model's own size, so 256 at 224)"),
  crop: whole(1, 8192)
    .optional()
    .describe("central crop, pixels (default: the model's own size, 224 for the paper's)"),
  ...loaderOptions(batchSize),
});
/** The sizes of evalOptions() where features may be there already, whose sizes are then the default. */
export const keptSizeOptions = {
  resize: whole(1, 8192).optional().meta({
    description: 'shorter side, pixels',
    note: "default: that of the index; for a new one 256/224 of the model's own size",
  }),
  crop: whole(1, 8192).optional().meta({
    description: 'central crop, pixels',
    note: "default: that of the index; for a new one the model's own size",
  }),
};
export type EvalOptions = Parsed<ReturnType<typeof evalOptions>>;

const precision = z.enum(PRECISION_CHOICES);
const precisionMeta = {
  description:
    "fp32, or what may be faster on this machine: bf16-matmul, bf16, fp16 (CUDA); auto takes the fastest whose features have a cosine of at least 0.9999 to fp32's",
  placeholder: '<name>',
};
/** The option of commands whose features may be computed in another precision than fp32. */
export const precisionOption = { precision: precision.default('fp32').meta(precisionMeta) };
/** The same where features may be there already, whose precision is then the default. */
export const keptPrecisionOption = {
  precision: precision
    .optional()
    .meta({ ...precisionMeta, note: 'default: that of the index, fp32 for a new one' }),
};

/** What a command does with precisionOption. @throws ConfigError for a precision that the model's device doesn't have. */
export async function precisionOf(
  { precision }: Parsed<typeof precisionOption> | Parsed<typeof keptPrecisionOption>,
  model: Model,
  io: Output,
): Promise<{ precision?: PrecisionChoice; onPrecision: (choice: ChosenPrecision) => void }> {
  const { precisionRemarks } = await import('../../torch/index.js');
  if (precision !== undefined && precision !== 'auto')
    for (const remark of precisionRemarks(precision, model.device)) io.warn(remark);
  return {
    ...(precision === undefined ? {} : { precision }),
    onPrecision: (choice) => io.note(`--precision ${choice.precision}: ${choice.reason}`),
  };
}

/** The options of evalOptions() that say how images are loaded, out of all that a command has. */
export const loading = (options: EvalOptions) => pick(options, 'resize', 'crop', 'batchSize', 'numWorkers');

const folder = (description: string) => z.string().optional().meta({ description, placeholder: '<folder>' });

/** The two folders of labelled images: --train and --val, or `train` and `val` in that of --data-path. */
export const labelledOptions = (train: string, val: string) => ({
  train: folder(train),
  val: folder(val),
  dataPath: folder('a folder with both, named train and val'),
});
export type LabelledOptions = Parsed<ReturnType<typeof labelledOptions>>;

/** The rule for labelledOptions(). */
export const labelledProblems = (options: LabelledOptions): string[] =>
  (['train', 'val'] as const)
    .filter((name) => options[name] === undefined && options.dataPath === undefined)
    .map((name) => `--${name} is missing: a folder with one folder a class`);

/** The two folders, once labelledProblems() finds none. */
export const labelledFolders = ({ train, val, dataPath = '' }: LabelledOptions) => ({
  train: train ?? path.join(dataPath, 'train'),
  val: val ?? path.join(dataPath, 'val'),
});

/** Warns of the images that an evaluation did without. */
export function warnOfMissing(
  io: Output,
  result: { remarks: readonly string[]; skipped: readonly unknown[] },
): void {
  io.warnOfLists(result);
  if (result.skipped.length > 0) io.warn(`${result.skipped.length} unreadable images left out`);
}

/** Keeps a result with the run that the weights belong to, and says where. */
export async function keepResult(io: Output, model: Model, name: string, result: object): Promise<void> {
  const { saveEvaluation } = await import('../../eval/save-evaluation.js');
  const file = saveEvaluation(model.file, name, result);
  if (file !== null) io.note(`kept in ${file}`);
}

/** What a command has to work with in each of its processes. */
export interface ModelWork {
  model: Model;
  world: World;
  /** Prints only in rank 0. */
  io: Output;
  signal: AbortSignal;
  count: Counter;
}

/** Does a command's work on a model, in one process or several, until it is done or Ctrl-C interrupts it. */
export async function onModel(
  call: { args: { weights: string }; options: ModelOptions & ProcessOptions; io: Output },
  work: (work: ModelWork) => Promise<void>,
): Promise<void> {
  await inProcesses(call, async (world, io) => {
    const interrupt = stopSignal(() => io.note('interrupted'));
    try {
      const model = await openModel(call.args.weights, call.options, io, world);
      await work({ model, world, io, signal: interrupt.signal, count: counter(io) });
    } finally {
      interrupt.release();
    }
  });
}
