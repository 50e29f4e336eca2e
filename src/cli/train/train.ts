/** `dino train`: reads flags and files, lets the presets fill in the rest, and shows the training. */
import { hasAttention } from '../../models/architectures.js';
import { existsSync, statSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { ConfigError } from '../../errors.js';
import { decodeText } from '../../files/decode-text.js';
import { readGuarded, SMALL_FILE_BYTES } from '../../files/guarded.js';
import { flagKind } from '../../plain/flag-values.js';
import { shellPath } from '../../plain/shell.js';
import { formatDuration, parseDuration } from '../../plain/units.js';
import type { World } from '../../processes/world.js';
import {
  CHANGEABLE_ON_RESUME,
  flagOf,
  SETTING_GROUPS,
  SETTING_NAMES,
  settingFields,
  type PartialSettings,
  type SettingName,
  type TrainSettings,
} from '../../run/settings.js';
import type { Extension, RunTime } from '../../run/run-folder.js';
import { checkSettings, LENGTHS, readOverrides, type SettingsSources } from '../../train/config.js';
import type { TrainResult } from '../../train/events.js';
import { reachedIn } from '../../train/reached.js';
import { PAPER, PRESETS, type PresetName } from '../../train/presets.js';
import { defineCommand, type Given } from '../command.js';
import { pick } from '../flags.js';
import { stopSignal } from '../interrupt.js';
import { Interrupted } from '../outcome.js';
import type { Output } from '../output.js';
import type { ShownTraining } from '../studio/studio.js';
import { inProcesses, processOptions, restartOptions } from './processes.js';
import { TrainProgress } from './progress.js';
import { withoutEffect } from './without-effect.js';

const PLACEHOLDERS: Partial<Record<SettingName, string>> = {
  for: '<time>',
  init: '<weights>',
  resumeFrom: '<file>',
  device: '<name>',
  decodedCache: '<size>',
  knnTrain: '<folder>',
  knnVal: '<folder>',
  watchImages: '<image...>',
  log: '<where>',
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

export const trainOptions = {
  output: z
    .string()
    .optional()
    .meta({
      description:
        'where the run goes: settings, metrics, checkpoints (default: a new folder in runs, named like the images)',
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
        'auto: continue the run in --output if there is one, or else begin it; more --epochs or --steps extend the run, and ' +
        '--for gives it that much more time',
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
    .describe(
      'show the training in the browser, as dino studio does; in a terminal it stays after the training until Ctrl-C',
    ),
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

/** A run folder's config.json, as a config file. */
interface SavedRun {
  settings?: unknown;
  extensions?: readonly Extension[];
}

function readConfigFile(file: string): {
  file?: unknown;
  extensions?: readonly Extension[];
  problem?: string;
} {
  try {
    const parsed: unknown = JSON.parse(decodeText(readGuarded(file, { maxBytes: SMALL_FILE_BYTES })));
    // a run folder's config.json holds its settings under that name
    const { settings, extensions } = (parsed ?? {}) as SavedRun;
    if (typeof settings !== 'object' || settings === null) return { file: parsed };
    // a run for a time changed its steps while it ran: repeating it needs these changes
    const isInSteps = (settings as PartialSettings).steps !== undefined;
    return { file: settings, ...(isInSteps && extensions !== undefined ? { extensions } : {}) };
  } catch (error) {
    return { problem: `--config ${file}: ${error instanceof Error ? error.message : String(error)}` };
  }
}

/**
 * Settings of a resumed run: its own; only more epochs, steps or time, and what can't change its result, may be given.
 * @param isRepeated - Whether the time of the command line is the run's own, and no further one.
 */
async function resumedSettings(
  run: string,
  sources: SettingsSources,
  isRepeated: (time: RunTime | undefined) => boolean,
): Promise<{ settings: TrainSettings }> {
  const overrides = readOverrides(sources);
  const { readRunConfig } = await import('../../run/run-folder.js');
  const { lengthProblem } = await import('../../train/run-length.js');
  const config = readRunConfig(run);
  const { time } = config;
  leaveAsChosen(overrides, config.settings);
  if (isRepeated(time)) delete overrides.for;
  // it belongs to a time, which the run's folder has
  const isOfMoreTime = overrides.for !== undefined;
  if (!isOfMoreTime && overrides.untilStalled === (time?.untilStalled ?? false))
    delete overrides.untilStalled;
  const fixed = (Object.keys(overrides) as SettingName[]).filter(
    (name) =>
      !isLength(name) &&
      !CHANGEABLE_ON_RESUME.includes(name) &&
      !(name === 'untilStalled' && isOfMoreTime) &&
      JSON.stringify(overrides[name]) !== JSON.stringify(config.settings[name]),
  );
  const problems = fixed.map(
    (name) =>
      `${flagOf(name)} can't change in a resumed run, whose result would then depend on when it was stopped; ` +
      `these can: ${CHANGEABLE_ON_RESUME.map(flagOf).join(', ')}; and more --epochs or --steps, or --for, extend it`,
  );
  const settings = { ...config.settings, ...overrides };
  if (overrides.epochs !== undefined) delete settings.steps; // from now on its length is whole epochs
  const shortened =
    overrides.for === undefined ? lengthProblem(run, config, settings as TrainSettings) : null;
  if (shortened !== null) problems.push(shortened);
  if (problems.length > 0) throw new ConfigError(problems);
  return { settings: checkSettings(settings) };
}

/** Takes out what asks for whatever is best here: the run has chosen that, and a repeated command line changes nothing. */
function leaveAsChosen(overrides: PartialSettings, { device }: TrainSettings): void {
  if (overrides.precision === 'auto') delete overrides.precision;
  if (overrides.threads === 0) delete overrides.threads;
  if (overrides.device === 'auto' || (overrides.device === 'cuda' && device.startsWith('cuda:')))
    delete overrides.device;
}

const isLength = (name: SettingName): boolean => (LENGTHS as readonly SettingName[]).includes(name);

/** Prints a line for each tenth of the shards that are indexed. */
function indexingNote(io: Output): (done: number, total: number) => void {
  let last = 0;
  return (done, total) => {
    const tenth = Math.floor((10 * done) / total);
    if (tenth > last) io.note(`indexed ${done} of ${total} shards`);
    last = tenth;
  };
}

/** Settings that don't change what `auto` learns. */
const LEAVES_AUTO_ALONE: ReadonlySet<SettingName> = new Set([
  ...CHANGEABLE_ON_RESUME,
  ...(['for', 'untilStalled', 'device', 'threads', 'precision', 'seed'] as const),
]);

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
    share: (what, make) => world.shared(what, make),
    startedAt: COMMAND_START,
    onTrial: (seconds, isUntilStalled) =>
      io.note(
        isUntilStalled
          ? `training goes on while the judge sees it getting better, at most ${formatDuration(seconds)}: a few trial steps show ` +
              'how much fits'
          : `training for ${formatDuration(seconds)}: a few trial steps show how much fits`,
      ),
    onPrecisionTrial: () => io.note('timing trial steps in each precision'),
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
  const time = parseDuration(settings.for ?? '');
  // measured with auto's own network and recipe, from random weights
  const isAutos =
    preset === 'auto' &&
    Object.keys(readOverrides(sources)).every((name) => LEAVES_AUTO_ALONE.has(name as SettingName));
  const reached =
    time === null || facts.device !== 'cpu' || !isAutos ? null : reachedIn(time, list.items.length);
  if (reached !== null) io.note(`  ${reached}`);
  for (const warning of warnings) io.warn(warning);
  return { settings, images: list };
}

function summary(result: TrainResult, seconds: number): string {
  const { output, arch, steps, loss, time, best } = result;
  const took =
    time === null
      ? formatDuration(seconds)
      : `${formatDuration(time.used)} of ${formatDuration(time.seconds)}`;
  const lines = [
    `done: ${steps} steps in ${took}, last loss ${loss === null ? '-' : loss.toFixed(4)}`,
    `run folder: ${output}`,
  ];
  const weights = best ?? output; // of a run, its last
  if (result.skipped > 0) lines.push(`${result.skipped} unreadable images: see ${output}/skipped.jsonl`);
  lines.push(
    'next:',
    ...(hasAttention(arch) === true ? [`  dino attention ${shellPath(weights)} IMAGE --output maps`] : []),
    `  dino embed ${shellPath(weights)} IMAGES --output features.safetensors`,
    `  dino eval knn ${shellPath(weights)} --train LABELLED --val LABELLED`,
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
  /** Of the run that --config repeats. */
  extensions: readonly Extension[] | undefined;
}

/** Reads what --resume, --config and the settings' flags mean together, and what is wrong with them. */
export function readTrainLine({ args, options }: TrainGiven): { line: TrainLine; problems: string[] } {
  const problems: string[] = [];
  // a file is a checkpoint of the reference, from which a new run continues
  const { resume: given, useFp16 } = options;
  const isFile = given !== undefined && (statSync(given, { throwIfNoEntry: false })?.isFile() ?? false);
  const isAuto = given === 'auto' && !isFile;
  const run = isFile || isAuto ? undefined : given;
  const output = run ?? options.output;
  const images = args.images ?? options.dataPath;
  if (images === undefined && run === undefined) problems.push('argument <images> is missing');
  if (output === undefined && (isAuto || options.nproc !== 1))
    problems.push(`--output is missing: ${isAuto ? '--resume auto' : '--nproc'} needs a folder for the run`);
  if (run !== undefined && options.output !== undefined)
    problems.push('--resume writes into the run itself: leave out --output');

  if (options.nproc === 1 && options.maxRestarts !== undefined && options.maxRestarts > 0)
    problems.push('--max-restarts has no effect: give --nproc too, whose processes it restarts');

  const flags = {
    ...(useFp16 === undefined ? {} : { precision: useFp16 ? 'fp16' : 'fp32' }),
    ...pick(options, ...SETTING_NAMES),
    ...(isFile ? { resumeFrom: given } : {}),
  };
  const sources: SettingsSources = { flags };
  let extensions: TrainLine['extensions'];
  if (options.config !== undefined) {
    const { file, problem, ...saved } = readConfigFile(options.config);
    // another length is another run
    if (LENGTHS.every((name) => options[name] === undefined)) ({ extensions } = saved);
    if (problem !== undefined) problems.push(problem);
    else Object.assign(sources, { file, fileName: options.config });
  }
  try {
    const overrides = readOverrides(sources);
    if (run === undefined) problems.push(...withoutEffect(overrides, options));
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    problems.push(...error.problems);
  }
  // a checkpoint brings its settings; what it doesn't hold is a constant of the reference
  const preset = flags.resumeFrom === undefined ? (options.preset ?? 'auto') : 'paper';
  const resume = isAuto ? 'auto' : run !== undefined;
  return { line: { images, output, resume, preset, sources, extensions }, problems };
}

export const command = defineCommand({
  args: trainArguments,
  options: trainOptions,
  usage:
    '<images> [--for TIME] [--output RUN] [options]\n       dino train --resume RUN\n' +
    '       dino train <images> --output RUN --resume CHECKPOINT.pth',
  examples: [
    'dino train photos --output runs/first',
    'dino train imagenet/train --output runs/vits16 --preset paper --batch-size 64',
    'dino train photos --for 10m',
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

const NOT_SHOWN: ShownTraining = { stay: () => Promise.resolve(), close: () => undefined };

/** By performance.now(), which counts from the start of the process. */
const COMMAND_START = 0;

/** `runs/NAME`, named like the images; with a number when there is one already. */
function newRunFolder(images: string, world: World): string {
  if (world.size > 1 || world.isRestart)
    throw new ConfigError(
      '--output is missing: several processes, and restarted ones, need a folder for the run',
    );
  const name = path.basename(path.resolve(images)).replace(/\.[^.]*$/, '') || 'run';
  for (let i = 1; ; i++) {
    const folder = path.join('runs', i === 1 ? name : `${name}-${i}`);
    if (!existsSync(folder)) return folder;
  }
}

export async function trainIn(world: World, line: TrainLine, studio: boolean, io: Output): Promise<void> {
  const { images, sources, extensions } = line;
  const { assertApart, assertNoRun, isRunFolder } = await import('../../run/run-folder.js');
  const output = line.output ?? newRunFolder(images ?? '', world);
  if (line.output === undefined) io.note(`run folder: ${output}`);
  // a launcher that restarts processes, or a job that was queued again, repeats the first command line
  const resume = await world.shared('whether the run continues', () => {
    const goesOn = line.resume === 'auto' || world.isRestart ? isRunFolder(output) : line.resume === true;
    if (goesOn) return true;
    assertNoRun(output); // before images are looked at and steps are timed
    if (images !== undefined) assertApart(output, images);
    return false;
  });
  // what restarts a run with more time does so before that time is used up
  const isRepeated = (time: RunTime | undefined): boolean =>
    line.resume !== true || (world.isRestart && time !== undefined && time.used < time.seconds);
  // when a run is resumed, only rank 0 needs to see its folder
  const begun = resume
    ? {
        ...(images === undefined ? {} : { images }),
        ...(world.isFirst ? await resumedSettings(output, sources, isRepeated) : {}),
      }
    : {
        ...(await newSettings(images ?? '', line, io, world)),
        ...(extensions === undefined ? {} : { extensions }),
      };

  const progress = world.isFirst ? new TrainProgress() : null;
  const interrupt = stopSignal(() =>
    progress?.note('interrupted: finishing the step and writing a checkpoint (again to stop at once)'),
  );
  const start = performance.now();
  let shown = NOT_SHOWN;
  const { showTraining } = await import('../studio/studio.js');
  try {
    const { train } = await import('../../train/train.js');
    const result = await train({
      ...begun,
      output,
      resume,
      startedAt: COMMAND_START,
      world,
      signal: interrupt.signal,
      onEvent: (event) => {
        progress?.handle(event);
        // the run's folder exists now
        if (event.type === 'start' && studio && world.isFirst) shown = showTraining(output, images, io);
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
    interrupt.release();
    // a launcher waits for each of several processes
    if (world.size === 1) await shown.stay();
  } finally {
    shown.close();
    progress?.stop();
    interrupt.release();
  }
}
