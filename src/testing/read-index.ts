/** For fuzz-folder.ts: every reader of an index, including the studio's queries. */
import path from 'node:path';
import { buildIndex } from '../explore/build-index.js';
import { clusterIndex } from '../explore/cluster.js';
import { findDuplicates } from '../explore/duplicates.js';
import { galleryOfIndex } from '../explore/gallery.js';
import { ImageIndex } from '../explore/image-index.js';
import { readManifest, writingOf } from '../explore/index-format.js';
import { labelImages, readLabels } from '../explore/labels.js';
import { keepMap, readMap } from '../explore/map.js';
import { findOutliers } from '../explore/outliers.js';
import { proposeLabels } from '../explore/propose.js';
import { loadIndexModel, searchIndex } from '../explore/search.js';
import { selectImages } from '../explore/select.js';
import type { Jobs } from '../studio/jobs/job.js';
import { run as find } from '../studio/jobs/find.js';
import { loadModel, type Model } from '../model.js';

/** A question without its generation: that of the index which is asked. */
type Ask = Without<Jobs['find']['input']['ask']>;
type Without<T> = T extends unknown ? Omit<T, 'generation'> : never;

/** The run and the images from which the good index was made: see fuzz-index.ts. */
const run = process.env['FUZZ_RUN']!;
const images = process.env['FUZZ_IMAGES']!;
let model: Model | null = null;
const loaded = (): Model => (model ??= loadModel(run, { device: 'cpu' }));

/** Weights that have already been loaded, first those of the good index. */
const known = new Set<string>();

function modelOf(index: ImageIndex): void {
  const weights = JSON.stringify(index.manifest.weights);
  if (known.has(weights)) return;
  loadIndexModel(index, { device: 'cpu' }).dispose();
  known.add(weights);
}

export const read = (
  folder: string,
  scratch: string,
): readonly (readonly [name: string, read: () => unknown])[] => {
  const on =
    (work: (index: ImageIndex) => unknown): (() => Promise<unknown>) =>
    async () => {
      using index = ImageIndex.open(folder);
      return await work(index);
    };
  const asked = (ask: Ask): [string, () => unknown] => [
    `studio: ${ask.kind}`,
    () => {
      const generation = writingOf(readManifest(folder));
      const input = { index: folder, ask: { ...ask, generation } };
      return find(input, { signal: new AbortController().signal, progress: () => undefined });
    },
  ];
  const outside = path.join(images, 'red', 'red 1.png');
  return [
    ['rows', on((index) => [...index.feature(0), index.pathOf(0), index.rowOf(outside)])],
    ['skipped', on((index) => index.skipped())],
    ['exact search', on((index) => searchIndex(index, { plus: [0], minus: [1], top: 5 }))],
    ['approximate search', on((index) => searchIndex(index, { plus: [0, 2], top: 5, exact: false }))],
    ['neighbours', on((index) => index.neighbours(5, { exact: false }))],
    ['region', on((index) => searchIndex(index, { plus: [0], region: [0, 0, 0.5, 0.5], model: loaded() }))],
    ['duplicates', on((index) => findDuplicates(index, { threshold: 0.5 }))],
    ['outliers', on((index) => findOutliers(index, { k: 3, exact: false }))],
    ['clusters', on((index) => clusterIndex(index, { clusters: Math.min(3, index.count) }))],
    ['select', on((index) => selectImages(index, { size: 2, by: 'diverse' }))],
    ['map', on((index) => readMap(index))],
    ['labels', on((index) => [...readLabels(index).labels])],
    ['proposals', on((index) => proposeLabels(index, { labels: readLabels(index).labels, exact: false }))],
    ['gallery', on((index) => galleryOfIndex(index, loaded()).paths)],
    ['model', on(modelOf)],
    asked({ kind: 'about' }),
    asked({ kind: 'map' }),
    asked({ kind: 'images', rows: [0, 1] }),
    asked({ kind: 'search', plus: [0], minus: [], top: 4 }),
    asked({ kind: 'duplicates', threshold: 0.9 }),
    asked({ kind: 'clusters', clusters: 2 }),
    asked({ kind: 'outliers' }),
    asked({ kind: 'pairs' }),
    asked({ kind: 'names' }),
    asked({ kind: 'select', size: 2, by: 'both' }),
    asked({ kind: 'labels' }),
    asked({ kind: 'label', label: 'seen', rows: [1] }),
    asked({ kind: 'propose' }),
    [
      'studio: export',
      on((index) =>
        Promise.all(
          (['list', 'copy', 'link'] as const).map((how) =>
            asked({
              kind: 'put',
              how,
              target: path.join(scratch, how),
              groups: new Map([
                ['', [index.pathOf(0)]],
                ['kind', [index.pathOf(1)]],
              ]),
            })[1](),
          ),
        ),
      ),
    ],
    ['label', on((index) => labelImages(index, [0], 'seen'))],
    ['new map', on((index) => keepMap(index, new Float32Array(2 * index.count)))],
    ['update', () => buildIndex(loaded(), images, { output: folder, numWorkers: 0 })],
  ];
};
