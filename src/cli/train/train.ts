/** `dino train`: reads flags and files, lets the presets fill in the rest, and shows the training. */
import type { Command } from 'commander';
import { statSync } from 'node:fs';
import { shellPath } from '../../plain/shell.js';
import { ConfigError } from '../../errors.js';
import { readGuarded, SMALL_FILE_BYTES } from '../../files/guarded.js';
import { checkSettings, readOverrides, type SettingsSources } from '../../train/config.js';
import {
  CHANGEABLE_ON_RESUME,
  flagOf,
  SETTING_GROUPS,
  settingFields,
  settingKind,
  type PartialSettings,
  type SettingName,
  type TrainSettings,
} from '../../run/settings.js';
import type { TrainResult } from '../../train/events.js';
import type { World } from '../../processes/world.js';
import { PAPER, PRESETS, type PresetName, resolveSettings } from '../../train/presets.js';
import {
  addExamples,
  booleanOption,
  Interrupted,
  type Invocation,
  listOption,
  type Output,
  setAliases,
  wordsOption,
} from '../command.js';
import { addProcessOptions, inProcesses, stopSignal } from './processes.js';
import { formatDuration } from '../../plain/units.js';
import { TrainProgress } from './progress.js';

export function define(command: Command): void {
  command
    .argument('<images>', 'folder of images (class folders, nested or flat), text file of paths, or shards')
    .usage(
      '<images> --output RUN [options]\n       dino train --resume RUN\n' +
        '       dino train <images> --output RUN --resume CHECKPOINT.pth',
    )
    .option('-o, --output <folder>', 'where the run goes: settings, metrics, checkpoints')
    .option(
      '--resume <run>',
      'go on from the newest checkpoint of a run, or a full checkpoint of the reference (.pth); ' +
        'auto: go on with --output if it holds a run, else begin one',
    )
    .option('--preset <name>', `${PRESETS.join(' or ')}: auto chooses for your images and machine`, 'auto')
    .option('--config <file>', 'JSON file of settings by the names below; flags win over it')
    .option('--studio', 'show the training in the browser while it runs, as dino studio does');
  const aliases: Record<string, string> = {
    '--batch-size-per-gpu': '--batch-size',
    '--output-dir': '--output',
  };
  for (const [title, names] of SETTING_GROUPS) {
    command.optionsGroup(title);
    for (const name of names) {
      const kind = settingKind(name);
      const paper = PAPER[name];
      const value = {
        ...{ number: '<n>', list: '<n,n>', boolean: '<true|false>', string: '<value>' },
        words: '<image...>',
      }[kind];
      const suffix = paper === undefined ? '' : ` (paper: ${String(paper)})`;
      const option = command.createOption(
        `${flagOf(name)} ${value}`,
        (settingFields[name].description ?? '') + suffix,
      );
      if (kind === 'boolean') booleanOption(option);
      if (kind === 'list') listOption(option);
      if (kind === 'words') wordsOption(option);
      command.addOption(option);
    }
  }
  addProcessOptions(command, { restarts: true });
  command.optionsGroup('Options:');
  // The reference's --use_fp16 and --data_path, hidden: --precision and the argument are their successors.
  command.addOption(booleanOption(command.createOption('--use-fp16 <true|false>').hideHelp()));
  command.addOption(command.createOption('--data-path <folder>').hideHelp());
  setAliases(command, aliases);
  addExamples(
    command,
    'dino train photos --output runs/first',
    'dino train imagenet/train --output runs/vits16 --preset paper --batch-size 64',
    'dino train --resume runs/first',
    'dino train photos --output runs/two --nproc 2 --max-restarts 3',
    'dino train photos --output runs/mine --init dino_deitsmall16_pretrain.pth',
  );
}

function readConfigFile(file: string): { file?: unknown; problem?: string } {
  try {
    const parsed: unknown = JSON.parse(readGuarded(file, { maxBytes: SMALL_FILE_BYTES }).toString('utf8'));
    // a run folder's config.json holds its settings under that name
    const inner = (parsed as { settings?: unknown } | null)?.settings;
    return { file: typeof inner === 'object' ? inner : parsed };
  } catch (error) {
    return { problem: `--config ${file}: ${error instanceof Error ? error.message : String(error)}` };
  }
}

/** Flags that are settings, with the reference's use_fp16 turned into a precision. */
function settingFlags(options: Record<string, unknown>): Record<string, unknown> {
  const flags: Record<string, unknown> = {};
  for (const [, names] of SETTING_GROUPS) {
    for (const name of names) if (options[name] !== undefined) flags[name] = options[name];
  }
  const fp16 = options['useFp16'] as string | undefined;
  if (fp16 !== undefined) flags['precision'] ??= /^(true|on|yes|1)$/i.test(fp16) ? 'fp16' : 'fp32';
  return flags;
}

/** Settings of a resumed run: its own, but for those that can't change its result. */
async function resumedSettings(run: string, sources: SettingsSources): Promise<{ settings: TrainSettings }> {
  const overrides = readOverrides(sources);
  const { readRunConfig } = await import('../../run/run-folder.js');
  const config = readRunConfig(run);
  const fixed = (Object.keys(overrides) as SettingName[]).filter(
    (name) =>
      !CHANGEABLE_ON_RESUME.includes(name) &&
      JSON.stringify(overrides[name]) !== JSON.stringify(config.settings[name]),
  );
  if (fixed.length > 0) {
    throw new ConfigError(
      fixed.map(
        (name) =>
          `${flagOf(name)} can't change in a resumed run, whose result would then depend on when it was stopped; ` +
          `these can: ${CHANGEABLE_ON_RESUME.map(flagOf).join(', ')}`,
      ),
    );
  }
  return { settings: checkSettings({ ...config.settings, ...overrides }) };
}

/** What the weights settle that the run begins with. */
async function settledByWeights(overrides: PartialSettings, io: Output): Promise<PartialSettings> {
  const { init, resumeFrom } = overrides;
  if (init === undefined && resumeFrom === undefined) return {};
  const [{ settingsOfInit }, { settingsOfCheckpoint }] = await Promise.all([
    import('../../train/init.js'),
    import('../../train/official-checkpoint.js'),
  ]);
  const onWarning = (message: string): void => io.warn(message);
  const { numHeads } = overrides;
  const settled =
    resumeFrom === undefined
      ? settingsOfInit(overrides, onWarning)
      : settingsOfCheckpoint(resumeFrom, { numHeads, onWarning });
  const head = settled.outDim === undefined ? 'no head' : `a head of ${settled.outDim}`;
  io.note(`${resumeFrom ?? init}: ${settled.arch}, patches of ${settled.patchSize} pixels, ${head}`);
  return settled;
}

/** Tells of each tenth of the shards that are indexed. */
function indexingNote(io: Output): (done: number, total: number) => void {
  let last = 0;
  return (done, total) => {
    const tenth = Math.floor((10 * done) / total);
    if (tenth > last) io.note(`indexed ${done} of ${total} shards`);
    last = tenth;
  };
}

/** Settings of a new run: looks at the images and the machine, and says what was chosen and why. */
async function newSettings(
  images: string,
  preset: PresetName,
  sources: SettingsSources,
  io: Output,
  world: World,
) {
  const overrides = readOverrides(sources); // all that is wrong in itself, before anything slow is loaded
  const { listImages } = await import('../../data/index.js');
  const list = await listImages(images, { onProgress: indexingNote(io) });
  const [{ chooseDevice }, { gatherFacts, machineFacts }] = await Promise.all([
    import('../../train/hardware.js'),
    import('../../train/facts.js'),
  ]);
  const device = chooseDevice(overrides.device ?? 'auto');
  const kind = device.startsWith('cuda') ? 'cuda' : device === 'mps' ? 'mps' : 'cpu';
  // machines may differ a little: all choose by what rank 0 sees
  const facts = await world.shared('what it sees of images and machine', () =>
    gatherFacts(list.items, {
      ...machineFacts(kind),
      processes: world.size,
    }),
  );
  const weights = await settledByWeights(overrides, io);
  const { settings, choices, warnings } = resolveSettings({ ...sources, preset, facts, weights });
  io.note(
    `${list.items.length} images, about ${facts.width} x ${facts.height}; device ${device}; preset ${preset}`,
  );
  for (const { name, value, reason } of choices) io.note(`  ${flagOf(name)} ${String(value)}: ${reason}`);
  for (const warning of warnings) io.warn(warning);
  return { settings: { ...settings, device }, images: list };
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

export async function run(invocation: Invocation): Promise<void> {
  const line = readLine(invocation);
  await inProcesses(invocation, (world, io) => trainIn(world, line, io));
}

/** What the command line asks for, checked as far as it can be without looking at files. */
interface Line {
  images: string | undefined;
  output: string;
  /** Go on with the run, or with `auto` if there is one. */
  resume: boolean | 'auto';
  preset: PresetName;
  sources: SettingsSources;
  /** Show it in the browser. */
  studio: boolean;
}

function readLine(invocation: Invocation): Line {
  const { options, problems } = invocation;
  // a file is a checkpoint of the reference's, from which a new run goes on
  const given = options['resume'] as string | undefined;
  const isFile = given !== undefined && (statSync(given, { throwIfNoEntry: false })?.isFile() ?? false);
  if (isFile) options['resumeFrom'] = given;
  const isAuto = given === 'auto' && !isFile;
  const run = isFile || isAuto ? undefined : given;
  const output = run ?? (options['output'] as string | undefined);
  const images = invocation.args[0] ?? (options['dataPath'] as string | undefined);
  const missing = problems.indexOf('argument <images> is missing');
  if (missing !== -1 && (images !== undefined || run !== undefined)) problems.splice(missing, 1);
  // a checkpoint brings its settings; what it doesn't tell is a constant of the reference
  const preset = isFile || options['resumeFrom'] !== undefined ? 'paper' : (options['preset'] as PresetName);
  if (!PRESETS.includes(preset))
    problems.push(`--preset is ${String(preset)}; expected ${PRESETS.join(' or ')}`);
  if (output === undefined) problems.push('--output is missing: where shall the run go?');
  if (run !== undefined && options['output'] !== undefined)
    problems.push('--resume writes into the run itself: leave out --output');

  const sources: SettingsSources = { problems, flags: settingFlags(options) };
  const configFile = options['config'] as string | undefined;
  if (configFile !== undefined) {
    const { file, problem } = readConfigFile(configFile);
    if (problem !== undefined) problems.push(problem);
    else Object.assign(sources, { file, fileName: configFile });
  }
  readOverrides(sources); // throws, with all that it finds
  const resume = isAuto ? 'auto' : run !== undefined;
  return { images, output: output as string, resume, preset, sources, studio: options['studio'] === true };
}

async function trainIn(world: World, line: Line, io: Output): Promise<void> {
  const { images, output, preset, sources } = line;
  const { isRunFolder } = await import('../../run/run-folder.js');
  // a launcher that starts processes again, or a job that was put back into its queue, repeats the first command line
  const resume = await world.shared('whether it goes on', () =>
    line.resume === 'auto' || world.isRestart ? isRunFolder(output) : line.resume === true,
  );
  // of a run that is there only rank 0 needs to see the folder
  const begun = resume
    ? {
        ...(images === undefined ? {} : { images }),
        ...(world.isFirst ? await resumedSettings(output, sources) : {}),
      }
    : await newSettings(images as string, preset, sources, io, world);

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
        // the run's folder is there now
        if (event.type === 'start' && line.studio && world.isFirst)
          closeStudio = showTraining(output, images, io);
      },
    });
    progress?.stop();
    const seconds = (performance.now() - start) / 1000;
    if (result.interrupted) {
      io.note(`stopped after step ${result.steps}; go on with: dino train --resume ${shellPath(output)}`);
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
