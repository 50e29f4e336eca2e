/** What a run works with: its settings and images, given anew or read back from its folder. */
import { listImages, type ImageList } from '../data/index.js';
import type { BackboneFactory } from '../models/index.js';
import { CheckpointError, ConfigError, DataError } from '../errors.js';
import { getNumThreads } from '../torch/index.js';
import { packageVersion } from '../version.js';
import { absoluteWatchImages, checkWatchImages } from './attention-film.js';
import { type PartialSettings, trainSettingsSchema, type TrainSettings } from './config.js';
import { chooseDevice, choosePrecision } from './hardware.js';
import { settingsOfInit } from './init.js';
import { settingsOfCheckpoint } from './official-checkpoint.js';
import { isRunFolder, readRunConfig, writeRunConfig } from './run-folder.js';

export interface RunOptions {
  images?: string | ImageList;
  output: string;
  settings?: TrainSettings;
  resume?: boolean;
  backbone?: BackboneFactory;
}

const pick = ({ imgSize }: PartialSettings): Pick<TrainSettings, 'imgSize'> =>
  imgSize === undefined ? {} : { imgSize };

/**
 * The settings and images of a run: those given, or for a resumed run those that it was begun with. A new run's are
 * written into its folder with nothing left open, so that to resume it later, elsewhere even, is to do the same again.
 */
export async function openRun(options: RunOptions): Promise<{ settings: TrainSettings; images: ImageList }> {
  const { output, resume = false } = options;
  if (isRunFolder(output) !== resume) {
    throw resume
      ? new CheckpointError(`${output} holds no run that could be resumed. Start one with --output.`)
      : new DataError(
          `${output} holds a run already. Go on with it by --resume, or choose another --output.`,
        );
  }
  const before = resume ? readRunConfig(output) : null;
  const given = options.settings ?? before?.settings;
  const source = options.images ?? before?.images;
  if (given === undefined || source === undefined)
    throw new ConfigError('a new run needs both images and settings');
  const settings = trainSettingsSchema.parse(given);
  if ((options.backbone !== undefined) !== (settings.arch === 'custom')) {
    throw new ConfigError(
      `arch is ${settings.arch} and train() was given ${options.backbone === undefined ? 'no' : 'a'} builder: ` +
        "arch 'custom' and the option `backbone` go together (docs/training-guide.md, Your own backbone)",
    );
  }
  const images = typeof source === 'string' ? await listImages(source) : source;
  const { fingerprint, items, root, source: listed } = images;
  if (items.length < settings.batchSize) {
    throw new DataError(
      `${root}: ${items.length} images are fewer than one batch of ${settings.batchSize}. ` +
        'Give a smaller --batch-size or more images.',
    );
  }
  if (before !== null && before.fingerprint !== fingerprint) {
    throw new DataError(
      `${root} is not what the run in ${output} was begun with: ${before.imageCount} images with fingerprint ` +
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
            : settingsOfCheckpoint(settings.resumeFrom),
        );
  const resolved = {
    ...settings,
    ...fromWeights,
    ...absoluteWatchImages(settings),
    device,
    precision,
    threads,
  };
  await checkWatchImages(output, resolved);
  if (before === null) {
    writeRunConfig(output, {
      version: packageVersion,
      images: listed,
      imageCount: items.length,
      fingerprint,
      settings: resolved,
    });
  }
  return { settings: resolved, images };
}
