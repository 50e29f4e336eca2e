/** The report's pictures: scenes, and attention maps with the object's outline. */
import sharp from 'sharp';
import { heatMap, scaleToUnit } from '../plain/colors.js';
import type { AttentionMaps, Evaluation, LoadedScenes } from './evaluate.js';
import type { AttentionFigure, AttentionSide, Neighbour, NeighbourRow, Picture } from './figures.js';

/** Sides in pixels: large enough for sharp screens at the size at which the report shows them. */
const LARGE = 384;
const SMALL = 128;
const TINY = 96;

export const kindName = (scenes: LoadedScenes, label: number | null | undefined): string =>
  (scenes.classes[label ?? -1] ?? 'object').replaceAll('-', ' ');

/** A scene of train or val, enlarged smoothly. */
export async function scenePicture(
  scenes: LoadedScenes,
  part: 'train' | 'val',
  index: number,
  side = SMALL,
): Promise<Picture> {
  const { path, label } = scenes[part].items.at(index)!;
  const bytes = await sharp(path).resize(side, side, { kernel: 'cubic' }).webp({ quality: 88 }).toBuffer();
  return { bytes, type: 'image/webp', alt: `scene with a ${kindName(scenes, label)}` };
}

export async function neighbourRows(
  scenes: LoadedScenes,
  queries: readonly number[],
  before: Evaluation,
  after: Evaluation,
): Promise<NeighbourRow[]> {
  const row = async (query: number, i: number): Promise<NeighbourRow> => {
    const label = scenes.valLabels[query]!;
    const strip = ({ neighbours }: Evaluation): Promise<Neighbour[]> =>
      Promise.all(
        neighbours[i]!.map(async (index) => ({
          picture: await scenePicture(scenes, 'train', index),
          kind: kindName(scenes, scenes.trainLabels[index]),
          isSame: scenes.trainLabels[index] === label,
        })),
      );
    return {
      query: await scenePicture(scenes, 'val', query),
      kind: kindName(scenes, label),
      before: await strip(before),
      after: await strip(after),
    };
  };
  return Promise.all(queries.map(row));
}

export async function attentionFigures(
  scenes: LoadedScenes,
  images: readonly number[],
  before: Evaluation,
  after: Evaluation,
): Promise<AttentionFigure[]> {
  const figure = async (index: number, i: number): Promise<AttentionFigure> => {
    const kind = kindName(scenes, scenes.valLabels[index]);
    const outline = outlineOf(await enlarged(scenes.masks[index]!, scenes.size, LARGE, SOFTNESS), LARGE);
    const side = async ({ attention, jaccard }: Evaluation, when: string): Promise<AttentionSide> => {
      const best = jaccard.heads.indexOf(Math.max(...jaccard.heads));
      const own = attention[i]!;
      const similarity = 100 * own.jaccards[best]!;
      const words = `attention ${when} training, ${kind}, head ${best + 1}: Jaccard ${similarity.toFixed(0)} of 100`;
      return {
        head: best + 1,
        map: await mapPicture(own, best, LARGE, words, outline),
        jaccard: similarity,
        heads: await Promise.all(
          own.jaccards.map((_, head) =>
            mapPicture(own, head, TINY, `attention ${when} training, ${kind}, head ${head + 1}`),
          ),
        ),
      };
    };
    return {
      kind,
      scene: await scenePicture(scenes, 'val', index, LARGE),
      before: await side(before, 'before'),
      after: await side(after, 'after'),
    };
  };
  return Promise.all(images.map(figure));
}

/** One head's map in colours, enlarged smoothly, with an outline of the object if there is one. */
async function mapPicture(
  { heads, maps }: AttentionMaps,
  head: number,
  side: number,
  alt: string,
  outline?: Uint8Array,
): Promise<Picture> {
  const patches = maps.length / heads;
  const map = scaleToUnit(maps.subarray(head * patches, (head + 1) * patches));
  const bytes = Uint8Array.from(map, (value) => Math.round(255 * value));
  const large = await enlarged(bytes, Math.sqrt(patches), side); // scenes are square
  const rgb = heatMap(Float32Array.from(large), 'inferno'); // (side, side, 3)
  outline?.forEach((strength, i) => {
    for (let c = 0; c < 3; c++) rgb[3 * i + c]! += ((255 - rgb[3 * i + c]!) * strength) / 255;
  });
  return {
    bytes: await sharp(rgb, { raw: { width: side, height: side, channels: 3 } })
      .webp({ quality: 88 })
      .toBuffer(),
    type: 'image/webp',
    alt,
  };
}

/** (from, from) to (to, to), smoothly; `blur` in pixels of the result, 0 for none. */
async function enlarged(values: Uint8Array, from: number, to: number, blur = 0): Promise<Uint8Array> {
  const large = sharp(values, { raw: { width: from, height: from, channels: 1 } }).resize(to, to, {
    kernel: 'cubic',
  });
  return (blur > 0 ? large.blur(blur) : large).extractChannel(0).raw().toBuffer();
}

/** Smooths the steps of a mask's pixels. */
const SOFTNESS = 3;

/** Half of the outline's thickness, pixels. */
const REACH = 1.5;

/**
 * The line where a mask crosses a half.
 * @param mask - (side, side), 0 to 255, smooth. @returns (side, side): strength of the line, 0 to 255.
 */
export function outlineOf(mask: Uint8Array, side: number): Uint8Array {
  const out = new Uint8Array(side * side);
  const at = (x: number, y: number): number =>
    mask[Math.min(side - 1, Math.max(0, y)) * side + Math.min(side - 1, Math.max(0, x))]!;
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const slope = Math.hypot(at(x + 1, y) - at(x - 1, y), at(x, y + 1) - at(x, y - 1)) / 2;
      if (slope === 0) continue;
      const distance = Math.abs(at(x, y) - 127.5) / slope; // pixels
      out[y * side + x] = Math.round(210 * Math.min(1, Math.max(0, REACH - distance)));
    }
  }
  return out;
}
