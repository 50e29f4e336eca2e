/** For tests and pictures: an index of class folders with its map, whose first classes have labels. */
import { buildIndex, type BuildIndexOptions } from '../explore/build-index.js';
import { ImageIndex } from '../explore/image-index.js';
import { labelImages } from '../explore/labels.js';
import { makeMap } from '../explore/map.js';
import { loadModel } from '../model.js';

/** Classes that are labelled. */
const LABELLED = 5;

/** The names of the class folders. */
export const classesOf = (index: ImageIndex): string[] => [
  ...new Set(index.images.flatMap(({ label }) => label ?? [])),
];

/** The rows of the images of a class folder. */
export const rowsOf = (index: ImageIndex, name: string): number[] =>
  index.images.flatMap(({ label }, row) => (label === name ? [row] : []));

/** @param run - Whose model sees the images. @returns The open index. */
export async function labelledIndex(
  run: string,
  images: string,
  output: string,
  options: Pick<BuildIndexOptions, 'numWorkers' | 'whiten'> = {},
): Promise<ImageIndex> {
  using model = loadModel(run, { device: 'cpu' });
  await buildIndex(model, images, { output, weights: { given: run }, ...options });
  const index = ImageIndex.open(output);
  await makeMap(index);
  for (const name of classesOf(index).slice(0, LABELLED)) labelImages(index, rowsOf(index, name), name);
  return index;
}
