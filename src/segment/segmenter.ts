/** A segmenter of images: a frozen backbone and a linear layer on the features of its patches. */
import path from 'node:path';
import sharp from 'sharp';
import { embeddable, image as imageSchema } from '../data/arguments.js';
import {
  decodeImage,
  type EncodedImage,
  firstSkipped,
  type ListNotes,
  notesOf,
  readImageFile,
  type RgbImage,
  skippedPlace,
} from '../data/index.js';
import { DataError } from '../errors.js';
import { type ImageSource, imagesOf } from '../eval/embed.js';
import { DAVIS_PALETTE, writeLabelImage } from '../eval/indexed-png.js';
import { writeFileWhole } from '../files/atomic-file.js';
import { makeFolder } from '../files/guarded.js';
import { checkPutFolder } from '../files/new-places.js';
import { assertWritableFolder } from '../files/output.js';
import {
  callback,
  checkCall,
  filePath,
  optionsOf,
  signal as abortSignal,
  yesOrNo,
} from '../plain/check-options.js';
import type { LoadedModel } from '../weights/loaded-model.js';
import { layerLogits, type SegmentLayer } from './linear-layer.js';
import { labelPixels, patchGrid } from './patch-grid.js';

/** A class of a segmenter. */
export interface SegmentClass {
  /** Its value in masks, 0 to 255. */
  value: number;
  name: string;
}

export interface SegmenterHead extends SegmentLayer {
  /** At least 2, in rising order of their values. */
  classes: readonly SegmentClass[];
  /** The shorter side that images are computed at, pixels. */
  size: number;
  /** How many of the last blocks are concatenated. */
  layers: number;
}

/** The labels of an image's pixels. */
export interface Segmentation {
  width: number;
  height: number;
  /** (height, width) values of classes, as masks have them. */
  labels: Uint8Array;
}

export interface SegmentOptions {
  /**
   * A folder for the results: `masks/NAME.png` and `overlays/NAME.jpg`, by the images' names. Its folders `masks` and
   * `overlays` must be new or empty: nothing is replaced.
   */
  output: string;
  /** Write overlays too; default true. */
  overlays?: boolean;
  signal?: AbortSignal | undefined;
  /** Called after every image. */
  onProgress?: (progress: { done: number; total: number }) => void;
}

export interface SegmentResult extends ListNotes {
  /** In the order of the images, skipped ones left out. */
  images: {
    path: string;
    mask: string;
    /** Null without overlays. */
    overlay: string | null;
    /** Share of the pixels of each class, 0 to 1, in the order of the classes. */
    shares: number[];
  }[];
  classes: readonly SegmentClass[];
  /** Images that could not be read, and why. */
  skipped: { path: string; reason: string }[];
}

/** How much of an overlay is the class's colour. */
const STRENGTH = 0.55;
const QUALITY = 88;

const segmentOptions = optionsOf<SegmentOptions>(
  { output: filePath },
  { overlays: yesOrNo, signal: abortSignal, onProgress: callback },
);

/**
 * Checks where segmentAll() will write. `masks` beside `images` is also where people keep what they drew.
 * @throws ConfigError when a folder is not empty; DataError when it can't be written.
 */
export function checkSegmentFolder(output: string, overlays: boolean): void {
  assertWritableFolder(output);
  for (const name of overlays ? ['masks', 'overlays'] : ['masks'])
    checkPutFolder(path.join(output, name), output);
}

/** Dispose of it (or leave it to the garbage collector) when done; fitSegmenter()'s model is left alone. */
export class Segmenter implements Disposable {
  readonly #ownsModel: boolean;

  /** @internal Made by fitSegmenter() and loadSegmenter(). */
  constructor(
    readonly model: LoadedModel,
    readonly head: SegmenterHead,
    ownsModel = false,
  ) {
    this.#ownsModel = ownsModel;
  }

  get classes(): readonly SegmentClass[] {
    return this.head.classes;
  }

  /**
   * Labels the pixels of one image.
   * @param image - A path, or the bytes of an image file.
   * @throws DataError when it can't be read.
   */
  async segment(image: EncodedImage): Promise<Segmentation> {
    checkCall('segment()', ['image', imageSchema, image]);
    return this.#label(await decodeImage(image));
  }

  #label(image: RgbImage): Segmentation {
    const { head, model } = this;
    const { width, height } = image;
    const grid = patchGrid(model, image, head.size, head.layers);
    const numbers = labelPixels(layerLogits(head, grid), grid, head.classes.length, image);
    return { width, height, labels: numbers.map((c) => head.classes[c]!.value) };
  }

  /**
   * Labels images and writes their masks, as indexed PNGs with a colour for each class, and overlays of these colours on the
   * images.
   *
   * @param images - A folder, a list file, a list of paths and bytes, or the result of listImages().
   * @throws ConfigError when the folders of the results are not empty; DataError when there are no images, none can be read or
   *   a file can't be written; the signal's reason when aborted.
   */
  async segmentAll(images: ImageSource, options: SegmentOptions): Promise<SegmentResult> {
    checkCall('segmentAll()', ['images', embeddable, images], ['options', segmentOptions, options]);
    const { output, overlays = true, signal, onProgress } = options;
    checkSegmentFolder(output, overlays);
    const list = await imagesOf(images);
    const { items, unreadable = [] } = list;
    const root = 'root' in list && typeof list.root === 'string' ? list.root : process.cwd();
    const skipped = unreadable.map(skippedPlace);
    const names = new Names(root);
    const done: SegmentResult['images'] = [];
    makeFolder(output, { within: output });
    for (const [i, { path: file, bytes }] of [...items].entries()) {
      signal?.throwIfAborted();
      let image: RgbImage;
      try {
        image = await decodeImage(bytes ?? (await readImageFile(file)));
      } catch (error) {
        if (!(error instanceof DataError)) throw error;
        skipped.push({ path: file, reason: error.message });
        onProgress?.({ done: i + 1, total: items.length });
        continue;
      }
      const found = this.#label(image);
      const name = names.of(file);
      const place = (folder: string, ending: string): string => {
        const target = path.join(output, folder, `${name}${ending}`);
        makeFolder(path.dirname(target), { within: output });
        return target;
      };
      const mask = place('masks', '.png');
      writeLabelImage(mask, found);
      const overlay = overlays ? place('overlays', '.jpg') : null;
      if (overlay !== null) await writeOverlay(overlay, image, found.labels);
      done.push({ path: file, mask, overlay, shares: this.#sharesOf(found.labels) });
      onProgress?.({ done: i + 1, total: items.length });
    }
    if (done.length === 0)
      throw new DataError(`none of the ${items.length} images can be read${firstSkipped(skipped)}`);
    return { images: done, classes: this.classes, skipped, ...notesOf(list) };
  }

  #sharesOf(labels: Uint8Array): number[] {
    const counts = new Float64Array(256);
    for (const label of labels) counts[label]!++;
    return this.classes.map(({ value }) => counts[value]! / labels.length);
  }

  dispose(): void {
    if (this.#ownsModel) this.model.backbone.dispose();
  }
  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Names of results: an image's path below the root without its ending, or with it where another image has the same. */
class Names {
  readonly #taken = new Set<string>();

  constructor(readonly root: string) {}

  of(file: string): string {
    const relative = path.relative(this.root, file).replace('::', '/').split(/[/\\]/);
    // what lies elsewhere is known by its own name
    const parts = relative.includes('..') ? [path.basename(file)] : relative;
    const whole = parts.filter((part) => part !== '' && part !== '.').join('/') || 'image';
    const short = whole.slice(0, whole.length - path.extname(whole).length) || whole;
    let name = this.#taken.has(short) ? whole : short;
    for (let i = 2; this.#taken.has(name); i++) name = `${whole}-${i}`;
    this.#taken.add(name);
    return name;
  }
}

/** The image with each pixel tinted by its class's colour; value 0 is left as it is. */
async function writeOverlay(file: string, image: RgbImage, labels: Uint8Array): Promise<void> {
  const { width, height, data } = image;
  const out = Buffer.from(data);
  for (let i = 0; i < labels.length; i++) {
    if (labels[i] === 0) continue;
    const colour = DAVIS_PALETTE[labels[i]!]!;
    for (let c = 0; c < 3; c++)
      out[3 * i + c] = Math.round(out[3 * i + c]! * (1 - STRENGTH) + colour[c]! * STRENGTH);
  }
  const jpeg = await sharp(out, { raw: { width, height, channels: 3 } })
    .jpeg({ quality: QUALITY })
    .toBuffer();
  writeFileWhole(file, jpeg, { flush: false });
}
