/** `dino train`: reads flags and files, lets the presets fill in the rest, and shows the training. */
import { statSync } from 'node:fs';
import { z } from 'zod';
import { ConfigError } from '../../errors.js';
import { decodeText } from '../../files/decode-text.js';
import { readGuarded, SMALL_FILE_BYTES } from '../../files/guarded.js';
import { flagKind } from '../../plain/flag-values.js';
import { shellPath } from '../../plain/shell.js';
import { formatDuration } from '../../plain/units.js';
import type { World } from '../../processes/world.js';
import {
  CHANGEABLE_ON_RESUME,
  flagOf,
  SETTING_GROUPS,
  SETTING_NAMES,
  settingFields,
  type SettingName,
  type TrainSettings,
} from '../../run/settings.js';
import { checkSettings, readOverrides, type SettingsSources } from '../../train/config.js';
import type { TrainResult } from '../../train/events.js';
import { PAPER, PRESETS, type PresetName } from '../../train/presets.js';
import { defineCommand, type Given } from '../command.js';
import { pick } from '../flags.js';
import { stopSignal } from '../interrupt.js';
import { Interrupted } from '../outcome.js';
import type { Output } from '../output.js';
import { inProcesses, processOptions, restartOptions } from './processes.js';
import { TrainProgress } from './progress.js';

const PLACEHOLDERS: Partial<Record<SettingName, string>> = {
  init: '<weights>',
  resumeFrom: '<file>',
  device: '<name>',
  decodedCache: '<size>',
  knnTrain: '<folder>',
  knnVal: '<folder>',
  watchImages: '<image...>',
};

/** A setting's schema as a flag: it may be left out, and the help says the paper's value. */
function settingOption(name: SettingName, group: string): z.ZodType {
  const schema: z.ZodType = settingFields[name];
  const paper = PAPER[name];
  // of true and false the word is always written
  const placeholder = PLACEHOLDERS[name] ?? (flagKind(schema) === 'boolean' ? '<true|false>' : undefined);
  return schema.optional().meta({
    description: schema.description ?? '',
    group,
    ...(paper === undefined ? {} : { note: `paper: ${String(paper)}` }),
    ...(placeholder === undefined ? {} : { placeholder }),
    ...(name === 'batchSize' ? { aliases: ['--batch-size-per-gpu'] } : {}),
  });
}

/** A flag for each setting, by topic. */
const settingOptions = Object.fromEntries(
  SETTING_GROUPS.flatMap(([group, names]) => names.map((name) => [name, settingOption(name, group)])),
) as unknown as { [K in SettingName]: z.ZodOptional<(typeof settingFields)[K]> };

const trainArguments = {
  images: z
    .string()
    .optional()
    .describe('folder of images (class folders, nested or flat), text file of paths, or shards'),
};

const trainOptions = {
  output: z
    .string()
    .optional()
    .meta({
      description: 'where the run goes: settings, metrics, checkpoints',
      placeholder: '<folder>',
      short: '-o',
      aliases: ['--output-dir'],
    }),
  resume: z
    .string()
    .optional()
    .meta({
      description:
        'continue from the newest checkpoint of a run, or from a full checkpoint of the reference (.pth); ' +
        'auto: continue the run in --output if there is one, or else begin it; with more --epochs the run is extended',
      placeholder: '<run>',
    }),
  preset: z.enum(PRESETS).default('auto').meta({
    description: 'auto chooses settings for your images and machine, paper takes those of the paper',
    placeholder: '<name>',
  }),
  config: z.string().optional().meta({
    description: 'JSON file of settings by the names below; flags take precedence over it',
    placeholder: '<file>',
  }),
  studio: z
    .boolean()
    .default(false)
    .describe('show the training in the browser while it runs, as dino studio does'),
  ...settingOptions,
  ...processOptions,
  ...restartOptions,
  // the reference's, whose successors are --precision and the argument
  useFp16: z
    .boolean()
    .optional()
    .meta({ placeholder: '<true|false>', aliases: ['--use-fp16'], hidden: true }),
  dataPath: z.string().optional().meta({ placeholder: '<folder>', hidden: true }),
};

type TrainGiven = Pick<Given<typeof trainArguments, typeof trainOptions>, 'args' | 'options'>;

function readConfigFile(file: string): { file?: unknown; problem?: string } {
  try {
    const parsed: unknown = JSON.parse(decodeText(readGuarded(file, { maxBytes: SMALL_FILE_BYTES })));
    // a run folder's config.json holds its settings under that name
    const inner = (parsed as { settings?: unknown } | null)?.settings;
    return { file: typeof inner === 'object' ? inner : parsed };
  } catch (error) {
    return { problem: `--config ${file}: ${error instanceof Error ? error.message : String(error)}` };
  }
}

/** Settings of a resumed run: its own; only more epochs, and what can't change its result, may be given. */
async function resumedSettings(run: string, sources: SettingsSources): Promise<{ settings: TrainSettings }> {
  const overrides = readOverrides(sources);
  const { readRunConfig } = await import('../../run/run-folder.js');
  const { epochsProblem } = await import('../../train/open-run.js');
  const config = readRunConfig(run);
  const fixed = (Object.keys(overrides) as SettingName[]).filter(
    (name) =>
      name !== 'epochs' &&
      !CHANGEABLE_ON_RESUME.includes(name) &&
      JSON.stringify(overrides[name]) !== JSON.stringify(config.settings[name]),
  );
  const problems = fixed.map(
    (name) =>
      `${flagOf(name)} can't change in a resumed run, whose result would then depend on when it was stopped; ` +
      `these can: ${CHANGEABLE_ON_RESUME.map(flagOf).join(', ')}; and more --epochs extend it`,
  );
  const { epochs } = config.settings;
  const shortened = epochsProblem(run, epochs, overrides.epochs ?? epochs);
  if (shortened !== null) problems.push(shortened);
  if (problems.length > 0) throw new ConfigError(problems);
  return { settings: checkSettings({ ...config.settings, ...overrides }) };
}

/** Prints a line for each tenth of the shards that are indexed. */
function indexingNote(io: Output): (done: number, total: number) => void {
  let last = 0;
  return (done, total) => {
    const tenth = Math.floor((10 * done) / total);
    if (tenth > last) io.note(`indexed ${done} of ${total} shards`);
    last = tenth;
  };
}

/** Settings of a new run: looks at the images and the machine, and prints what was chosen and why. */
async function newSettings(
  images: string,
  { preset, sources }: Pick<TrainLine, 'preset' | 'sources'>,
  io: Output,
  world: World,
) {
  const { listImages } = await import('../../data/index.js');
  const list = await listImages(images, { onProgress: indexingNote(io) });
  const { planTraining } = await import('../../train/plan.js');
  const { settings, facts, weights, choices, warnings } = await planTraining(list, {
    ...{ preset, sources, processes: world.size },
    shareFacts: (gather) => world.shared('facts about the images and the machine', gather),
    onWarning: (message) => io.warn(message),
  });
  if (weights !== null) {
    const { init, resumeFrom } = settings;
    const head = weights.outDim === undefined ? 'no head' : `a head of ${weights.outDim}`;
    io.note(`${resumeFrom ?? init}: ${weights.arch}, patches of ${weights.patchSize} pixels, ${head}`);
  }
  io.note(
    `${list.items.length} images, about ${facts.width} x ${facts.height}; device ${settings.device}; preset ${preset}`,
  );
  for (const { name, value, reason } of choices) io.note(`  ${flagOf(name)} ${String(value)}: ${reason}`);
  for (const warning of warnings) io.warn(warning);
  return { settings, images: list };
}

function summary(result: TrainResult, seconds: number): string {
  const { output, steps, loss } = result;
  const lines = [
    `done: ${steps} steps in ${formatDuration(seconds)}, last loss ${loss === null ? '-' : loss.toFixed(4)}`,
    `run folder: ${output}`,
  ];
  if (result.skipped > 0) lines.push(`${result.skipped} unreadable images: see ${output}/skipped.jsonl`);
  lines.push(
    'next:',
    `  dino attention ${shellPath(output)} IMAGE --output maps`,
    `  dino embed ${shellPath(output)} IMAGES --output features.safetensors`,
    `  dino eval knn ${shellPath(output)} --train LABELLED --val LABELLED`,
  );
  return lines.join('\n');
}

/** What the command line asks for, checked as far as it can be without looking at images or a run. */
interface TrainLine {
  images: string | undefined;
  output: string | undefined;
  /** Continue the run; with `auto` only if there is one. */
  resume: boolean | 'auto';
  preset: PresetName;
  sources: SettingsSources;
}

/** Reads what --resume, --config and the settings' flags mean together, and what is wrong with them. */
function readTrainLine({ args, options }: TrainGiven): { line: TrainLine; problems: string[] } {
  const problems: string[] = [];
  // a file is a checkpoint of the reference, from which a new run continues
  const { resume: given, useFp16 } = options;
  const isFile = given !== undefined && (statSync(given, { throwIfNoEntry: false })?.isFile() ?? false);
  const isAuto = given === 'auto' && !isFile;
  const run = isFile || isAuto ? undefined : given;
  const output = run ?? options.output;
  const images = args.images ?? options.dataPath;
  if (images === undefined && run === undefined) problems.push('argument <images> is missing');
  if (output === undefined) problems.push('--output is missing: a folder for the run');
  if (run !== undefined && options.output !== undefined)
    problems.push('--resume writes into the run itself: leave out --output');

  const flags = {
    ...(useFp16 === undefined ? {} : { precision: useFp16 ? 'fp16' : 'fp32' }),
    ...pick(options, ...SETTING_NAMES),
    ...(isFile ? { resumeFrom: given } : {}),
  };
  const sources: SettingsSources = { flags };
  if (options.config !== undefined) {
    const { file, problem } = readConfigFile(options.config);
    if (problem !== undefined) problems.push(problem);
    else Object.assign(sources, { file, fileName: options.config });
  }
  try {
    readOverrides(sources);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    problems.push(...error.problems);
  }
  // a checkpoint brings its settings; what it doesn't hold is a constant of the reference
  const preset = flags.resumeFrom === undefined ? (options.preset ?? 'auto') : 'paper';
  const resume = isAuto ? 'auto' : run !== undefined;
  return { line: { images, output, resume, preset, sources }, problems };
}

export const command = defineCommand({
  args: trainArguments,
  options: trainOptions,
  usage:
    '<images> --output RUN [options]\n       dino train --resume RUN\n' +
    '       dino train <images> --output RUN --resume CHECKPOINT.pth',
  examples: [
    'dino train photos --output runs/first',
    'dino train imagenet/train --output runs/vits16 --preset paper --batch-size 64',
    'dino train --resume runs/first',
    'dino train photos --output runs/two --nproc 2 --max-restarts 3',
    'dino train photos --output runs/mine --init dino_deitsmall16_pretrain.pth',
  ],
  rules: (given) => readTrainLine(given).problems,

  async run(call) {
    const { line } = readTrainLine(call);
    await inProcesses(call, (world, io) => trainIn(world, line, call.options.studio, io));
  },
});

async function trainIn(world: World, line: TrainLine, studio: boolean, io: Output): Promise<void> {
  const { images, output = '', sources } = line;
  const { isRunFolder } = await import('../../run/run-folder.js');
  // a launcher that restarts processes, or a job that was queued again, repeats the first command line
  const resume = await world.shared('whether the run continues', () =>
    line.resume === 'auto' || world.isRestart ? isRunFolder(output) : line.resume === true,
  );
  // when a run is resumed, only rank 0 needs to see its folder
  const begun = resume
    ? {
        ...(images === undefined ? {} : { images }),
        ...(world.isFirst ? await resumedSettings(output, sources) : {}),
      }
    : await newSettings(images ?? '', line, io, world);

  const progress = world.isFirst ? new TrainProgress() : null;
  const interrupt = stopSignal(() =>
    progress?.note('interrupted: finishing the step and writing a checkpoint (again to stop at once)'),
  );
  const start = performance.now();
  let closeStudio = (): void => undefined;
  const { showTraining } = await import('../studio/studio.js');
  try {
    const { train } = await import('../../train/train.js');
    const result = await train({
      ...begun,
      output,
      resume,
      world,
      signal: interrupt.signal,
      onEvent: (event) => {
        progress?.handle(event);
        // the run's folder exists now
        if (event.type === 'start' && studio && world.isFirst) closeStudio = showTraining(output, images, io);
      },
    });
    progress?.stop();
    const seconds = (performance.now() - start) / 1000;
    if (result.interrupted) {
      io.note(`stopped after step ${result.steps}; continue with: dino train --resume ${shellPath(output)}`);
      if (io.json) io.result(result, '');
      throw new Interrupted('interrupted');
    }
    io.result({ ...result, seconds }, summary(result, seconds));
  } finally {
    closeStudio();
    progress?.stop();
    interrupt.release();
  }
}
