/** What a run works with: its settings and images, given anew or read back from its folder. */
import { gibibytes } from '../plain/units.js';
import { listImages, type ImageList } from '../data/index.js';
import type { BackboneFactory } from '../models/index.js';
import { CheckpointError, ConfigError, DataError } from '../errors.js';
import { getNumThreads } from '../torch/index.js';
import { packageVersion } from '../version.js';
import { absoluteWatchImages, checkWatchImages } from './attention-film.js';
import {
  decodedCacheBytes,
  flagOf,
  type PartialSettings,
  SETTING_NAMES,
  type SettingName,
  type TrainSettings,
} from '../run/settings.js';
import { checkSettings } from './config.js';
import { usableMemory } from './facts.js';
import { chooseDevice, choosePrecision } from './hardware.js';
import { settingsOfInit } from './init.js';
import { settingsOfCheckpoint } from './official-checkpoint.js';
import { isRunFolder, readRunConfig, type RunConfig, writeRunConfig } from '../run/run-folder.js';
import { printable } from '../plain/printable.js';
import type { World } from '../processes/world.js';

export interface RunOptions {
  images?: string | ImageList;
  output: string;
  settings?: TrainSettings;
  resume?: boolean;
  backbone?: BackboneFactory;
}

const pick = ({ imgSize }: PartialSettings): Pick<TrainSettings, 'imgSize'> =>
  imgSize === undefined ? {} : { imgSize };

/** A run as its processes work on it. */
export interface OpenRun {
  /** Of this process: its own device, and `batchSize` its share of a step's images. */
  settings: TrainSettings;
  images: ImageList;
  /** What is not as it was when the run was begun, in words. */
  changes: string[];
}

/** What rank 0 says of the run. */
interface Settled {
  config: RunConfig;
  /** The settings as they were given, to compare. */
  given: TrainSettings;
  changes: string[];
}

/**
 * The settings and images of a run: those given, or for a resumed run those that it was begun with. A new run's are
 * written into its folder with nothing left open, so that to resume it later, elsewhere even, is to do the same again.
 * Rank 0 settles and writes; the others take its settings, and refuse when theirs or their images are others. Collective.
 */
export async function openRun(options: RunOptions, world: World): Promise<OpenRun> {
  let images: ImageList | undefined;
  const { config, given, changes } = await world.shared('what it trains', async (): Promise<Settled> => {
    const settled = await settle(options, world);
    images = settled.images;
    return settled;
  });
  images ??= await listed(options.images ?? config.images);
  if (!world.isFirst) compare(options.settings, given, images, config, world);
  await world.meet('the start of the training');
  if (world.isFirst && options.resume !== true) writeRunConfig(options.output, config);
  return { settings: { ...config.settings, ...ownHardware(config.settings, world) }, images, changes };
}

const listed = (source: string | ImageList): ImageList | Promise<ImageList> =>
  typeof source === 'string' ? listImages(source) : source;

/** Several processes on a machine have a CUDA device each, by their number on it. */
function ownHardware({ device }: TrainSettings, { size, localRank }: World): { device: string } {
  return { device: size > 1 && device.startsWith('cuda') ? chooseDevice(`cuda:${localRank}`) : device };
}

/** @throws ConfigError or DataError that names what is otherwise than rank 0 has it. */
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
    throw new DataError(
      `Rank ${rank} sees other images than rank 0: ${items.length} in ${printable(root)} with fingerprint ${fingerprint}, not ` +
        `${config.imageCount} with ${config.fingerprint}.`,
    );
  }
}

/** Settings of a machine, which change no result. */
const MAY_DIFFER: ReadonlySet<SettingName> = new Set(['device', 'threads', 'numWorkers', 'decodedCache']);

async function settle(options: RunOptions, world: World): Promise<Settled & { images: ImageList }> {
  const { output, resume = false } = options;
  if (isRunFolder(output) !== resume) {
    throw resume
      ? new CheckpointError(
          `${printable(output)} does not hold a run that could be resumed. Start one with --output.`,
        )
      : new DataError(
          `${printable(output)} holds a run already. Go on with it by --resume, or choose another --output.`,
        );
  }
  const before = resume ? readRunConfig(output) : null;
  const wanted = options.settings ?? before?.settings;
  const source = options.images ?? before?.images;
  if (wanted === undefined || source === undefined)
    throw new ConfigError('a new run needs both images and settings');
  const given = before === null ? checkSettings(wanted) : wanted;
  if ((options.backbone !== undefined) !== (given.arch === 'custom')) {
    throw new ConfigError(
      `arch is ${given.arch} and train() was given ${options.backbone === undefined ? 'no' : 'a'} builder: ` +
        "arch 'custom' and the option `backbone` go together (docs/training-guide.md, Your own backbone)",
    );
  }
  const { settings, changes } =
    before === null ? { settings: given, changes: [] } : divide(given, before, world);
  const images = await listed(source);
  const { fingerprint, items, root, source: path } = images;
  checkCache(settings, world);
  if (items.length < settings.batchSize * world.size) {
    const each = world.size > 1 ? ` for each of ${world.size} processes` : '';
    throw new DataError(
      `${printable(root)}: ${items.length} images are fewer than one batch of ${settings.batchSize}${each}. ` +
        'Give a smaller --batch-size or more images.',
    );
  }
  if (before !== null && before.fingerprint !== fingerprint) {
    throw new DataError(
      `${printable(root)} is not what the run in ${printable(output)} was begun with: ${before.imageCount} images with fingerprint ` +
        `${before.fingerprint} then, ${items.length} with ${fingerprint} now. Bring the same files back, or start a ` +
        'new run.',
    );
  }
  const device = chooseDevice(settings.device);
  const { precision } = choosePrecision(settings.precision, device);
  const threads = settings.threads > 0 ? settings.threads : getNumThreads();
  // weights bring their own grid of position embeddings
  const fromWeights =
    before !== null || settings.imgSize !== undefined
      ? {}
      : pick(
          settings.resumeFrom === undefined
            ? settingsOfInit(settings)
            : settingsOfCheckpoint(settings.resumeFrom, { numHeads: settings.numHeads }),
        );
  const config: RunConfig = {
    version: packageVersion,
    images: path,
    imageCount: items.length,
    fingerprint,
    processes: world.size,
    settings: { ...settings, ...fromWeights, ...absoluteWatchImages(settings), device, precision, threads },
  };
  await checkWatchImages(output, config.settings);
  return { config, given, changes, images };
}

/** @throws ConfigError when the processes of this machine would keep more than it has. */
function checkCache(settings: TrainSettings, { localSize }: World): void {
  const memory = usableMemory();
  if (decodedCacheBytes(settings) * localSize < memory) return;
  const each = localSize > 1 ? ` in each of ${localSize} processes` : '';
  throw new ConfigError(
    `--decoded-cache is ${settings.decodedCache}${each}, and this machine has ${gibibytes(memory)} of ` +
      'memory: leave room for the training',
  );
}

/** Another number of processes than the run was begun with divides the same batches otherwise. */
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
      `The run takes ${batch} images a step, ${before.settings.batchSize} in each of ${processes(before.processes)}: ` +
        `they can't be divided among ${world.size}. Use a number of processes that divides ${batch}.`,
    );
  }
  const batchSize = batch / world.size;
  const threads = getNumThreads();
  return {
    settings: { ...given, batchSize, threads },
    changes: [
      `${processes(world.size)} in place of ${processes(before.processes)}: each takes ${batchSize} images a step, no ` +
        `longer ${before.settings.batchSize}, and ${threads} threads. Batches and schedules stay the same; sums run in ` +
        'another order, and drop path draws other numbers, so the last bits of the weights differ.',
    ],
  };
}
