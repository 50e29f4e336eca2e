/** The report's pictures: scenes, attention maps in colours, masks over outlines. */
import { readFile } from 'node:fs/promises';
import sharp from 'sharp';
import { heatMap } from '../plain/colors.js';
import type { AttentionRow, NeighbourRow, Picture } from './figures.js';
import type { Evaluation, LoadedScenes } from './evaluate.js';

const className = (scenes: LoadedScenes, label: number | undefined): string =>
  (scenes.classes[label ?? -1] ?? 'object').replaceAll('-', ' ');

/** A scene of train or val, as in its file. */
export async function scenePicture(
  scenes: LoadedScenes,
  part: 'train' | 'val',
  index: number,
): Promise<Picture> {
  const { path, label } = scenes[part].items.at(index)!;
  return { png: await readFile(path), alt: `scene of: ${className(scenes, label ?? undefined)}` };
}

async function png(pixels: Uint8Array, width: number, channels: 1 | 3): Promise<Uint8Array> {
  const height = pixels.length / channels / width;
  return sharp(pixels, { raw: { width, height, channels } }).png().toBuffer();
}

export async function neighbourRows(
  scenes: LoadedScenes,
  queries: readonly number[],
  before: Evaluation,
  after: Evaluation,
): Promise<NeighbourRow[]> {
  const row = async (query: number, i: number): Promise<NeighbourRow> => {
    const label = scenes.valLabels[query]!;
    const strip = (evaluation: Evaluation) =>
      Promise.all(
        evaluation.neighbours[i]!.map(async (index) => ({
          picture: await scenePicture(scenes, 'train', index),
          same: scenes.trainLabels[index] === label,
        })),
      );
    return {
      query: await scenePicture(scenes, 'val', query),
      queryClass: className(scenes, label),
      before: await strip(before),
      after: await strip(after),
    };
  };
  return Promise.all(queries.map(row));
}

export async function attentionRows(
  scenes: LoadedScenes,
  images: readonly number[],
  before: Evaluation,
  after: Evaluation,
): Promise<AttentionRow[]> {
  const row = async (index: number, i: number): Promise<AttentionRow> => {
    const name = className(scenes, scenes.valLabels[index]);
    const truth = scenes.masks[index]!;
    return {
      image: await scenePicture(scenes, 'val', index),
      truth: { png: await png(truth, scenes.size, 1), alt: `outline of the ${name}` },
      before: await look(before.attention[i]!, truth, scenes.size, `before training, ${name}`),
      after: await look(after.attention[i]!, truth, scenes.size, `after training, ${name}`),
    };
  };
  return Promise.all(images.map(row));
}

async function look(
  attention: Evaluation['attention'][number],
  truth: Uint8Array,
  size: number,
  what: string,
): Promise<AttentionRow['before']> {
  const { heads, maps, masks, jaccards } = attention;
  const patches = maps.length / heads;
  const side = Math.sqrt(patches); // scenes are square
  const pictures: Picture[] = [];
  for (let head = 0; head < heads; head++) {
    const map = maps.subarray(head * patches, (head + 1) * patches);
    pictures.push({
      png: await png(heatMap(map), side, 3),
      alt: `${what}: attention of head ${head + 1}`,
    });
  }
  const best = jaccards.indexOf(Math.max(...jaccards));
  const jaccard = 100 * jaccards[best]!;
  const overlay = overlayMask(masks.subarray(best * patches, (best + 1) * patches), side, truth, size);
  return {
    heads: pictures,
    mask: {
      png: await png(overlay, size, 3),
      alt: `${what}: mask of head ${best + 1} over the outline, Jaccard ${jaccard.toFixed(0)} of 100`,
    },
    jaccard,
  };
}

/** Colour of a pixel, depending on whether it is in the mask and in the object; the report's text names the colours. */
const COLOURS = {
  both: [250, 240, 205],
  mask: [224, 122, 48],
  object: [66, 120, 200],
  neither: [38, 40, 44],
} as const;

/** (side, side) patches over (size, size) pixels -> (size, size, 3). */
export function overlayMask(mask: Uint8Array, side: number, truth: Uint8Array, size: number): Uint8Array {
  const pixels = new Uint8Array(3 * size * size);
  const patch = size / side;
  for (let i = 0; i < size * size; i++) {
    const [row, column] = [Math.floor(i / size / patch), Math.floor((i % size) / patch)];
    const inMask = mask[row * side + column] !== 0;
    const inObject = truth[i] !== 0;
    const which = inMask ? (inObject ? 'both' : 'mask') : inObject ? 'object' : 'neither';
    pixels.set(COLOURS[which], 3 * i);
  }
  return pixels;
}
