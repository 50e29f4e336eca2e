/** The settings and images of a run: newly given, or read back from its folder. */
import { gibibytes } from '../plain/units.js';
import { listImages, type ImageList } from '../data/index.js';
import type { BackboneFactory } from '../models/index.js';
import { CheckpointError, ConfigError, DataError } from '../errors.js';
import { cudaDeviceOf, getNumThreads, instructionLevels, precisionRemarks } from '../torch/index.js';
import { packageVersion } from '../version.js';
import { absoluteWatchImages, checkWatchImages } from './attention-film.js';
import {
  decodedCacheBytes,
  flagOf,
  type PartialSettings,
  type RunLength,
  SETTING_NAMES,
  type SettingName,
  stepsOf,
  type TrainSettings,
} from '../run/settings.js';
import { checkSettings } from './config.js';
import { usableMemory } from './facts.js';
import { choosePrecision } from './choose-precision.js';
import { chooseDevice } from './hardware.js';
import { absoluteKnnImages, checkKnnImages } from './knn-during-training.js';
import { checkSteps, settleLength } from './run-length.js';
import { changedImages, writeImageNames } from '../run/image-names.js';
import { settingsOfInit } from './init.js';
import { type MeasuredChannels, settleChannels } from './settle-channels.js';
import { settingsOfCheckpoint } from './official-checkpoint.js';
import {
  type Extension,
  assertApart,
  assertNoRun,
  isRunFolder,
  readRunConfig,
  type RunConfig,
  type RunTime,
  writeRunConfig,
} from '../run/run-folder.js';
import type { Precision } from '../plain/precisions.js';
import { printable } from '../plain/printable.js';
import { shellPath } from '../plain/shell.js';
import { checkTrackers } from './trackers/trackers.js';
import type { World } from '../processes/world.js';

export interface RunOptions {
  images?: string | ImageList;
  output: string;
  settings?: TrainSettings;
  extensions?: readonly Extension[];
  resume?: boolean;
  backbone?: BackboneFactory;
  signal?: AbortSignal;
}

const pick = ({ imgSize }: PartialSettings): Pick<TrainSettings, 'imgSize'> =>
  imgSize === undefined ? {} : { imgSize };

/** What the weights that a new run begins with say. */
const settledByWeights = (settings: TrainSettings): PartialSettings =>
  settings.resumeFrom === undefined
    ? settingsOfInit(settings)
    : settingsOfCheckpoint(settings.resumeFrom, { numHeads: settings.numHeads });

/** A run as seen by one of its processes. */
export interface OpenRun {
  /** This process's settings: its own device, and as `batchSize` its share of a step's images. */
  settings: TrainSettings & { precision: Precision };
  /** Why this precision was chosen; null where it was given. */
  precisionReason: string | null;
  /** Mean and deviation of the images' channels that were measured for this run; null where none had to be. */
  measured: MeasuredChannels | null;
  images: ImageList;
  /** What has changed since the run was started, in words. */
  changes: string[];
  /** Length that the run had before; `settings` may have a longer one. */
  planned: RunLength;
  /** Earlier changes of the length. */
  extensions: readonly Extension[];
  /** The time that the run may take and has taken; null for a run whose length is not a time. */
  time: RunTime | null;
  /** Whether the length in `settings` is only a guess, to be replaced once the pace is known. */
  isGuess: boolean;
  /** Makes the folder that of a run, once it can begin. Does nothing for a resumed run, and but on rank 0. */
  record: () => void;
}

/** What rank 0 decides for the run. */
interface Settled extends Pick<OpenRun, 'changes' | 'planned' | 'isGuess' | 'precisionReason' | 'measured'> {
  config: RunConfig & { settings: { precision: Precision } };
  /** The settings as they were given, for comparison. */
  given: TrainSettings;
}

/**
 * The settings and images of a run: those given, or, for a resumed run, those that it was started with. A new run's have
 * every `auto` resolved when record() writes them, so that resuming it later, even on another machine, does the same again.
 * Rank 0 decides; the others take its settings, and fail if their own or their images differ. Collective.
 */
export async function openRun(options: RunOptions, world: World): Promise<OpenRun> {
  let images: ImageList | undefined;
  const { config, given, ...rest } = await world.shared('what it trains', async (): Promise<Settled> => {
    const { images: listed, ...settled } = await settle(options, world);
    images = listed;
    return settled;
  });
  images ??= await listed(options.images ?? config.images);
  if (!world.isFirst) compare(options.settings, given, images, config, world);
  await world.meet('the start of the training');
  const list = images;
  const record = (): void => {
    if (!world.isFirst || options.resume === true) return;
    writeImageNames(options.output, list);
    writeRunConfig(options.output, config);
  };
  return {
    settings: { ...config.settings, ...ownHardware(config.settings, world) },
    ...{ images, ...rest, record },
    extensions: config.extensions ?? [],
    time: config.time ?? null,
  };
}

const listed = (source: string | ImageList): ImageList | Promise<ImageList> =>
  typeof source === 'string' ? listImages(source) : source;

/** Several processes on one machine use one CUDA device each, by their local rank. */
function ownHardware({ device }: TrainSettings, { size, localRank }: World): { device: string } {
  return { device: size > 1 && device.startsWith('cuda') ? chooseDevice(cudaDeviceOf(localRank)) : device };
}

/** @throws ConfigError or DataError that names what differs from rank 0. */
function compare(
  own: TrainSettings | undefined,
  first: TrainSettings,
  { fingerprint, items, root }: ImageList,
  config: RunConfig,
  { rank }: World,
): void {
  const different = SETTING_NAMES.filter(
    (name) => own !== undefined && !MAY_DIFFER.has(name) && String(own[name]) !== String(first[name]),
  );
  if (own !== undefined && different.length > 0) {
    throw new ConfigError(
      different.map((name) =>
        printable(
          `${flagOf(name)} is ${String(own[name])} for rank ${rank} and ${String(first[name])} for rank 0`,
        ),
      ),
    );
  }
  if (fingerprint !== config.fingerprint) {
    const there = printable(config.images);
    const count =
      items.length === config.imageCount
        ? `as many as rank 0 has in ${there}, but with other names or labels`
        : `not ${config.imageCount} as in rank 0's ${there}`;
    throw new DataError(
      `Rank ${rank} has different images from rank 0: ${items.length} in ${printable(root)}, ${count}. Every machine needs the ` +
        'same files under the same names.',
    );
  }
}

/** Settings that belong to a machine and don't change results. */
const MAY_DIFFER: ReadonlySet<SettingName> = new Set(['device', 'threads', 'numWorkers', 'decodedCache']);

async function settle(options: RunOptions, world: World): Promise<Settled & { images: ImageList }> {
  const { output, resume = false } = options;
  if (!resume) assertNoRun(output);
  else if (!isRunFolder(output))
    throw new CheckpointError(
      `${printable(output)} is not a run that can be resumed. Start one with --output.`,
    );
  const before = resume ? readRunConfig(output) : null;
  const wanted = options.settings ?? before?.settings;
  const source = options.images ?? before?.images;
  if (wanted === undefined || source === undefined)
    throw new ConfigError('a new run needs both images and settings');
  const given = before === null ? checkSettings(wanted) : wanted;
  if ((options.backbone !== undefined) !== (given.arch === 'custom')) {
    throw new ConfigError(
      `arch is ${given.arch}, but train() was given ${options.backbone === undefined ? 'no' : 'a'} builder: ` +
        "arch 'custom' and the option `backbone` go together (docs/training-guide.md, Your own backbone)",
    );
  }
  const { settings: divided, changes } =
    before === null ? { settings: given, changes: [] } : divide(given, before, world);
  const images = await listed(source);
  const { fingerprint, items, root, source: place } = images;
  if (before === null) assertApart(output, place);
  const stepsPerEpoch = Math.floor(items.length / (divided.batchSize * world.size));
  const { settings, planned, time, isGuess } = settleLength(divided, before, { run: output, stepsPerEpoch });
  checkSteps(settings, stepsPerEpoch);
  checkCache(settings, world);
  if (items.length < settings.batchSize * world.size) {
    const each = world.size > 1 ? ` for each of ${world.size} processes` : '';
    throw new DataError(
      `${printable(root)}: ${items.length} images are fewer than one batch of ${settings.batchSize}${each}. ` +
        'Use a smaller --batch-size or more images.',
    );
  }
  if (before !== null && before.fingerprint !== fingerprint) {
    throw new DataError(
      `${printable(root)} has changed since the run in ${printable(output)} was started: ` +
        `${changedImages(output, before.imageCount, images)}. Every step's images depend on the list: restore the same files, ` +
        `or start a new run from this one's weights (--output NEW --init ${shellPath(output)}).`,
    );
  }
  const device = chooseDevice(settings.device);
  const threads = settings.threads > 0 ? settings.threads : getNumThreads();
  // weights come with their own grid of position embeddings
  const weights = before === null ? settledByWeights(settings) : {};
  const fromWeights = before !== null || settings.imgSize !== undefined ? {} : pick(weights);
  const { extensions } = before ?? options;
  const length = time === null ? { steps: stepsOf(settings, stepsPerEpoch) } : { seconds: time.seconds };
  const { backbone: build, signal } = options;
  const { input, measured } = await settleChannels(settings, weights, items, signal);
  const resolved = { ...settings, ...fromWeights, ...input, device, threads };
  const { precision, reason } =
    settings.precision === 'auto'
      ? await choosePrecision(resolved, { length, build, signal })
      : { precision: settings.precision, reason: null };
  changes.push(...precisionRemarks(precision, device));
  const instructions = instructionLevels();
  if (before?.instructions !== undefined && before.instructions !== instructions && device === 'cpu')
    changes.push(
      `this CPU computes with ${instructions}, and the run began with ${before.instructions}: sums are rounded differently, so ` +
        'the last bits of the weights differ from those of a run that was never moved',
    );
  const config: Settled['config'] = {
    version: packageVersion,
    images: place,
    imageCount: items.length,
    fingerprint,
    processes: world.size,
    settings: { ...resolved, ...absoluteWatchImages(settings), ...absoluteKnnImages(settings), precision },
    instructions,
    ...(extensions === undefined ? {} : { extensions }),
    ...(time === null ? {} : { time }),
  };
  await checkWatchImages(output, config.settings);
  await checkKnnImages(config.settings);
  checkTrackers(config.settings);
  return { config, given, changes, planned, isGuess, precisionReason: reason, measured, images };
}

/** @throws ConfigError when the caches of this machine's processes would exceed its memory. */
function checkCache(settings: TrainSettings, { localSize }: World): void {
  const memory = usableMemory();
  if (decodedCacheBytes(settings) * localSize < memory) return;
  const each = localSize > 1 ? ` in each of ${localSize} processes` : '';
  throw new ConfigError(
    `--decoded-cache is ${settings.decodedCache}${each}, but this machine has ${gibibytes(memory)} of ` +
      'memory: leave room for training',
  );
}

/** With a different number of processes than at the start of the run, the same batches are divided differently. */
function divide(
  given: TrainSettings,
  before: RunConfig,
  world: World,
): { settings: TrainSettings; changes: string[] } {
  if (before.processes === world.size) return { settings: given, changes: [] };
  const batch = before.settings.batchSize * before.processes;
  const processes = (count: number): string => (count === 1 ? '1 process' : `${count} processes`);
  if (batch % world.size !== 0) {
    throw new ConfigError(
      `The run takes ${batch} images per step, ${before.settings.batchSize} in each of ${processes(before.processes)}: ` +
        `they can't be divided among ${world.size}. Use a number of processes that divides ${batch}.`,
    );
  }
  const batchSize = batch / world.size;
  const threads = getNumThreads();
  return {
    settings: { ...given, batchSize, threads },
    changes: [
      `${processes(world.size)} instead of ${processes(before.processes)}: each takes ${batchSize} images per step ` +
        `instead of ${before.settings.batchSize}, and ${threads} threads. Batches and schedules stay the same; sums are ` +
        'computed in a different order, and drop path draws different numbers, so the last bits of the weights differ.',
    ],
  };
}
