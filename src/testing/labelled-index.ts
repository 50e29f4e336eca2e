/** For tests and pictures: an index of class folders with its map, whose first classes have labels. */
import { buildIndex, type BuildIndexOptions } from '../explore/build-index.js';
import { ImageIndex } from '../explore/image-index.js';
import { labelImages } from '../explore/labels.js';
import { keepMap, makeMap } from '../explore/map.js';
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

/**
 * The first two principal components of the network's features, (N, 2): a map that hardly differs between machines, while
 * UMAP's turns the last bits of features into another layout.
 */
function principalPlaces(index: ImageIndex): Float32Array {
  const { count, width } = index;
  const rows = Float64Array.from(index.rawFeatures());
  for (let d = 0; d < width; d++) {
    let mean = 0;
    for (let i = 0; i < count; i++) mean += rows[i * width + d]! / count;
    for (let i = 0; i < count; i++) rows[i * width + d]! -= mean;
  }
  const places = new Float32Array(2 * count);
  for (const component of [0, 1]) {
    let axis = Float64Array.from({ length: width }, (_, d) => 1 / (1 + d));
    let scores = new Float64Array(count);
    for (let round = 0; round < 500; round++) {
      scores = Float64Array.from({ length: count }, (_, i) =>
        axis.reduce((sum, value, d) => sum + value * rows[i * width + d]!, 0),
      );
      axis = Float64Array.from({ length: width }, (_, d) =>
        scores.reduce((sum, value, i) => sum + value * rows[i * width + d]!, 0),
      );
      const length = Math.hypot(...axis);
      axis = axis.map((value) => value / length);
    }
    // the farthest image is on the right, or at the bottom
    const farthest = scores.reduce((best, value) => (Math.abs(value) > Math.abs(best) ? value : best), 0);
    scores.forEach((value, i) => {
      places[2 * i + component] = (value * Math.sign(farthest)) / Math.abs(farthest);
      for (let d = 0; d < width; d++) rows[i * width + d]! -= value * axis[d]!;
    });
  }
  return places;
}

interface LabelledIndexOptions extends Pick<BuildIndexOptions, 'numWorkers' | 'whiten'> {
  /** How its map is laid out; default by UMAP, as everybody's is. */
  map?: 'umap' | 'principal';
}

/** @param run - Whose model sees the images. @returns The open index. */
export async function labelledIndex(
  run: string,
  images: string,
  output: string,
  { map = 'umap', ...options }: LabelledIndexOptions = {},
): Promise<ImageIndex> {
  using model = loadModel(run, { device: 'cpu' });
  await buildIndex(model, images, { output, weights: { given: run }, ...options });
  const index = ImageIndex.open(output);
  if (map === 'umap') await makeMap(index);
  else await keepMap(index, principalPlaces(index));
  for (const name of classesOf(index).slice(0, LABELLED)) labelImages(index, rowsOf(index, name), name);
  return index;
}
