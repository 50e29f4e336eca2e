/**
 * RUN/watch, where the attention of a few pinned images is saved at every checkpoint (src/train/attention-film.ts writes
 * it). Reading doesn't need libtorch, so a server can do it while training runs:
 *
 *   watch/cat-1a2b3c4d/image.png           the image as the model sees it, in whole patches
 *   watch/cat-1a2b3c4d/image.json          where it came from, its sizes in pixels and in patches
 *   watch/cat-1a2b3c4d/step-00001234.npy   (heads, rows, columns) float32, the teacher's attention after 1,234 steps
 */
import { lstatSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { checkCall, count, filePath } from '../plain/check-options.js';
import { DataError } from '../errors.js';
import { readGuarded, SMALL_FILE_BYTES } from '../files/guarded.js';
import { readNpy } from '../files/npy.js';
import { meanMap } from '../plain/maps.js';
import { messageOf, printable } from '../plain/printable.js';

export const watchPath = (run: string): string => path.join(run, 'watch');
/** The run that a watched image belongs to. */
export const runOf = ({ folder }: WatchedImage): string => path.resolve(folder, '..', '..');
/** Size limit for a picture or one of its frames, bytes. */
export const MAX_WATCH_BYTES = 2 ** 26;
/**
 * The most patches of a watched image. 24 x 24: enough to see an object's shape. The reference's 480 pixels at patches of 16
 * (30 x 30) take nearly twice as long, and training waits for it at every checkpoint.
 */
export const WATCH_PATCHES = 576;

const imageSchema = z.object({
  /** The file that it was made from, under its name at that time; it may no longer exist. */
  source: z.string(),
  /** Size of the picture, pixels: whole patches. */
  width: z.int().min(1),
  height: z.int().min(1),
  originalWidth: z.int().min(1),
  originalHeight: z.int().min(1),
  /** Patches down and across. */
  rows: z.int().min(1),
  columns: z.int().min(1),
  patchSize: z.int().min(1),
});

/** image.json of a watched image. */
export type WatchedImageFacts = z.infer<typeof imageSchema>;

export interface WatchedImage extends WatchedImageFacts {
  /** Name of its folder. */
  name: string;
  folder: string;
  /** The picture, a PNG of width x height. */
  picture: string;
  /** Steps after which its attention was saved, ascending. */
  steps: number[];
}

export interface FilmFrame {
  step: number;
  heads: number;
  rows: number;
  columns: number;
  /** (heads, rows, columns): the class token's attention in the teacher's last block. */
  maps: Float32Array;
  /** (rows, columns): mean over heads. */
  mean: Float32Array;
}

const FRAME = /^step-(\d{8,})\.npy$/;
export const frameName = (step: number): string => `step-${String(step).padStart(8, '0')}.npy`;

/**
 * The watched images of a run, sorted by name. Any that are damaged, incomplete, or reached through a link in the run folder
 * are left out.
 */
export function listWatched(run: string): WatchedImage[] {
  checkCall('listWatched()', ['run', filePath, run]);
  const root = watchPath(run);
  if (!(lstatSync(root, { throwIfNoEntry: false })?.isDirectory() ?? false)) return []; // none, or a link
  return readdirSync(root)
    .sort()
    .flatMap((name) => {
      const folder = path.join(root, name);
      let facts: WatchedImageFacts;
      let files: string[];
      try {
        const file = path.join(folder, 'image.json');
        const text = readGuarded(file, { within: run, maxBytes: SMALL_FILE_BYTES }).toString('utf8');
        facts = imageSchema.parse(JSON.parse(text));
        files = readdirSync(folder);
      } catch {
        return [];
      }
      const steps = files.flatMap((file) => {
        const step = FRAME.exec(file)?.[1];
        return step === undefined ? [] : [Number(step)];
      });
      return [
        {
          ...facts,
          name,
          folder,
          picture: path.join(folder, 'image.png'),
          steps: steps.sort((a, b) => a - b),
        },
      ];
    });
}

const watchedImage = z.looseObject({ folder: filePath, rows: count(1), columns: count(1) });

/**
 * An image's attention after `step` steps.
 * @throws DataError when there is none for this step, or the file is damaged.
 */
export function readFrame(image: WatchedImage, step: number): FilmFrame {
  checkCall('readFrame()', ['image', watchedImage, image], ['step', count(), step]);
  const file = path.join(image.folder, frameName(step));
  let bytes: Buffer;
  try {
    bytes = readGuarded(file, { within: runOf(image), maxBytes: MAX_WATCH_BYTES });
  } catch (error) {
    throw new DataError(`no attention for step ${step}: ${messageOf(error)}`, { cause: error });
  }
  const { rows, columns } = image;
  const array = readNpy(bytes);
  const [heads = 0, ...rest] = array?.shape ?? [];
  if (array === null || heads < 1 || rest.join() !== `${rows},${columns}`) {
    throw new DataError(
      `${printable(file)} is damaged: expected float32 of (heads, ${rows}, ${columns}), got ${array === null ? 'something else' : `(${array.shape.join(', ')})`}`,
    );
  }
  const maps = array.values;
  return { step, heads, rows, columns, maps, mean: meanMap(maps, heads) };
}
