/**
 * Attention of a few pinned images at every checkpoint, `--watch-images`: how objects emerge from the noise while a network
 * learns (paper, figure 1, over time). Files and their layout: src/run/film-folder.ts.
 *
 * It doesn't affect training: the teacher runs in evaluation mode without gradients, and no random number is drawn. The
 * images are kept, resized, in the run folder, because the originals may disappear.
 */
import { createHash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import sharp from 'sharp';
import { writeFileWhole } from '../files/atomic-file.js';
import { makeFolder, readGuarded, refuseLinks, removeWithin } from '../files/guarded.js';
import { messageOf, printable } from '../plain/printable.js';
import { decodeImage, type ImageItems, PhiloxStream, Purpose } from '../data/index.js';
import { DataError, DinoError } from '../errors.js';
import { npyBytes } from '../files/npy.js';
import { classAttention, prepareImage, type PreparedImage } from '../explain/attention.js';
import { architectureEntry, type AttentiveBackbone, type Backbone, isAttentive } from '../models/index.js';
import { inferenceMode, scope } from '../torch/index.js';
import type { TrainSettings } from '../run/settings.js';
import {
  frameName,
  listWatched,
  MAX_WATCH_BYTES,
  WATCH_PATCHES,
  watchPath,
  type WatchedImageFacts,
} from '../run/film-folder.js';

/** Images that `auto` picks. */
const AUTO_IMAGES = 4;
/** Images that `auto` tries at most, because unreadable ones are skipped. */
const AUTO_TRIES = 32;
const isKeyword = (image: string): boolean => image === 'auto' || image === 'none';

/** The images of `--watch-images` with absolute paths, which stay valid when the run is resumed from another folder. */
export const absoluteWatchImages = (
  settings: Pick<TrainSettings, 'watchImages'>,
): Pick<TrainSettings, 'watchImages'> =>
  settings.watchImages === undefined
    ? {}
    : { watchImages: settings.watchImages.map((image) => (isKeyword(image) ? image : path.resolve(image))) };

/** The images of the setting that the run folder doesn't contain yet, without keywords. */
function newImages(run: string, watchImages: readonly string[] = []): string[] {
  const kept = new Set(listWatched(run).map((image) => image.source));
  return [...new Set(watchImages)].filter((image) => !isKeyword(image) && !kept.has(image));
}

/**
 * Reads every image that a run is asked to watch, before anything starts.
 * @throws DataError that names every image that can't be read.
 */
export async function checkWatchImages(
  run: string,
  settings: Pick<TrainSettings, 'watchImages'>,
): Promise<void> {
  const problems: string[] = [];
  for (const file of newImages(run, settings.watchImages)) {
    try {
      await decodeImage(file);
    } catch (error) {
      if (!(error instanceof DataError)) throw error;
      problems.push(`--watch-images: ${error.message}`);
    }
  }
  if (problems.length > 0) throw new DataError(problems.join('\n'));
}

export interface FilmOptions {
  /** The run folder. */
  run: string;
  settings: TrainSettings;
  /** The teacher's. */
  backbone: Backbone;
  /** The training images, from which `auto` picks. */
  items: ImageItems;
  /** Steps done so far: frames of later steps are deleted, since those steps will run again. */
  step: number;
  /** Called with what can't be saved; training continues. */
  warn: (message: string) => void;
}

interface Pinned {
  folder: string;
  prepared: Omit<PreparedImage, 'isSqueezed'>;
}

/** The film of a run; record() is called at every checkpoint. */
export class AttentionFilm {
  readonly #run: string;
  readonly #backbone: AttentiveBackbone;
  readonly #device: string;
  readonly #pinned: readonly Pinned[];
  readonly #warn: (message: string) => void;

  private constructor(
    backbone: AttentiveBackbone,
    pinned: readonly Pinned[],
    { run, settings, warn }: FilmOptions,
  ) {
    this.#run = run;
    this.#backbone = backbone;
    this.#device = settings.device;
    this.#pinned = pinned;
    this.#warn = warn;
  }

  /**
   * Opens the images that the run folder has, adds those of the setting that it lacks, and records the state in which
   * training begins.
   * @returns Null when nothing is to be watched.
   */
  static async open(options: FilmOptions): Promise<AttentionFilm | null> {
    const { run, settings, backbone, step, warn } = options;
    const { watchImages = ['none'] } = settings;
    if (watchImages[0] === 'none') return null;
    if (!isAttentive(backbone)) {
      warn('--watch-images: this backbone has no attention to watch');
      return null;
    }
    try {
      removeLater(run, step);
      const pinned: Pinned[] = [];
      for (const { folder, picture, ...facts } of listWatched(run)) {
        const png = readGuarded(picture, { within: run, maxBytes: MAX_WATCH_BYTES });
        const { data: image } = await decodeImage(png); // (height, width, 3)
        if (image.length !== facts.width * facts.height * 3)
          throw new DataError(`${printable(picture)} is not ${facts.width} x ${facts.height} RGB pixels`);
        pinned.push({ folder, prepared: { ...facts, image } });
      }
      const model = sizesOf(backbone, settings);
      for (const file of newImages(run, watchImages)) {
        try {
          pinned.push(await pin(run, file, await prepareImage(model, file, undefined, WATCH_PATCHES)));
        } catch (error) {
          warn(`--watch-images ${printable(file)}: ${messageOf(error)}`); // deleted since it was checked, or too narrow
        }
      }
      if (watchImages.includes('auto') && pinned.length === 0) pinned.push(...(await pickImages(options)));
      if (pinned.length === 0) {
        warn(
          `--watch-images ${printable(watchImages.join(' '))}: none of the images could be used, so none is watched`,
        );
        return null;
      }
      const film = new AttentionFilm(backbone, pinned, options);
      film.record(step);
      return film;
    } catch (error) {
      warn(`--watch-images: attention is not recorded: ${messageOf(error)}`);
      return null;
    }
  }

  /** Computes and saves every image's attention after `step` steps. */
  record(step: number): void {
    const backbone = this.#backbone;
    backbone.eval();
    try {
      for (const { folder, prepared } of this.#pinned) {
        const { rows, columns } = prepared;
        const [heads = 0, values] = scope(() =>
          inferenceMode(() => {
            const maps = classAttention(backbone, prepared, this.#device).to('cpu'); // (heads, N)
            return [maps.size(0), maps.toTypedArray() as Float32Array] as const;
          }),
        );
        writeUnflushed(
          this.#run,
          path.join(folder, frameName(step)),
          npyBytes(values, [heads, rows, columns]),
        );
      }
    } catch (error) {
      this.#warn(`the attention at step ${step} is not saved: ${messageOf(error)}`);
    } finally {
      backbone.train();
    }
  }
}

const sizesOf = (backbone: AttentiveBackbone, settings: TrainSettings) => ({
  architecture: {
    // DINOv2's positions are for larger images than it is used with
    imgSize:
      architectureEntry(settings.arch)?.family === 'dinov2'
        ? settings.globalCropsSize
        : (settings.imgSize ?? settings.globalCropsSize),
    patchSize: backbone.patchSize,
  },
});

/** Not flushed: a frame that is lost in a power cut is computed again, or can be missed. */
const writeUnflushed = (run: string, file: string, content: Uint8Array | string): void =>
  writeFileWhole(file, content, { flush: false, within: run });

/** Removes frames after `step`, and files that a killed process left half written. */
function removeLater(run: string, step: number): void {
  for (const { folder, steps } of listWatched(run)) {
    const remove = (name: string): void => removeWithin(path.join(folder, name), { within: run });
    refuseLinks(run, folder);
    for (const later of steps) if (later > step) remove(frameName(later));
    for (const name of readdirSync(folder)) if (name.includes('.partial-')) remove(name);
  }
}

/** Copies an image into the run folder. */
async function pin(run: string, source: string, prepared: PreparedImage): Promise<Pinned> {
  const { image, width, height } = prepared;
  const stem = path
    .basename(source, path.extname(source))
    .replace(/[^\p{L}\p{N}._-]+/gu, '-')
    .replace(/^[.-]+/, '')
    .slice(0, 40);
  // two files with the same name may be watched
  const hash = createHash('sha256').update(source).update(image).digest('hex').slice(0, 8);
  const folder = path.join(watchPath(run), `${stem || 'image'}-${hash}`);
  makeFolder(folder, { within: run });
  const png = await sharp(image, { raw: { width, height, channels: 3 } })
    .png()
    .toBuffer();
  writeUnflushed(run, path.join(folder, 'image.png'), png);
  const { originalWidth, originalHeight, rows, columns, patchSize } = prepared;
  const sizes = { width, height, originalWidth, originalHeight, rows, columns, patchSize };
  const facts: WatchedImageFacts = { source, ...sizes };
  writeUnflushed(run, path.join(folder, 'image.json'), `${JSON.stringify(facts, null, 2)}\n`); // last: without it the folder is ignored
  return { folder, prepared };
}

/** Picks a few of the training images; the choice depends only on the seed. */
async function pickImages({ run, settings, backbone, items }: FilmOptions): Promise<Pinned[]> {
  const random = new PhiloxStream(settings.seed, Purpose.watching, 0);
  const model = sizesOf(backbone as AttentiveBackbone, settings);
  const tried = new Set<number>();
  const pinned: Pinned[] = [];
  while (pinned.length < AUTO_IMAGES && tried.size < Math.min(AUTO_TRIES, items.length)) {
    const index = random.integer(items.length);
    if (tried.has(index)) continue;
    tried.add(index);
    const source = items.at(index)!.path;
    try {
      pinned.push(await pin(run, source, await prepareImage(model, source, undefined, WATCH_PATCHES)));
    } catch (error) {
      if (!(error instanceof DinoError)) throw error; // unreadable (the loader lists it) or too narrow
    }
  }
  return pinned;
}
