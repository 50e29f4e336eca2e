/** The questions of the section Find to an index: one job for all of them, so that the index stays open in between. */
import path from 'node:path';
import { ConfigError, DataError } from '../../errors.js';
import { clusterIndex } from '../../explore/cluster.js';
import { duplicateThreshold, findDuplicates, similarPairs } from '../../explore/duplicates.js';
import { ImageIndex } from '../../explore/image-index.js';
import { readManifest, writingOf } from '../../explore/index-format.js';
import { labelImages, readLabels } from '../../explore/labels.js';
import { readMap } from '../../explore/map.js';
import { findOutliers } from '../../explore/outliers.js';
import { proposeLabels } from '../../explore/propose.js';
import { imagesOf, putImages, writeLabels, writeList } from '../../explore/put-images.js';
import { loadIndexModel, searchIndex } from '../../explore/search.js';
import { selectImages } from '../../explore/select.js';
import { pairSimilarities, shareBelow } from '../../explore/similarity-scale.js';
import type { FoundImage, LabelGroup } from '../../plain/studio-api/index.js';
import { StudioError } from '../files.js';
import type { JobFunction } from './job.js';

/** Skipped images that are listed by name. */
const LISTED = 100;
/** Pairs of similar images that a page gets. */
const PAIRS = 20_000;
/** Images of a group of duplicates or of a cluster that are sent with it; the rows of all are. */
const SHOWN = 12;

/** The index that was asked last. */
let open: ImageIndex | null = null;
/** Similarities of pairs of its images, once they are needed. */
let scale: Float32Array | null = null;

function indexAt(folder: string): ImageIndex {
  const writing = writingOf(readManifest(folder));
  if (open === null || open.folder !== folder || writingOf(open.manifest) !== writing) {
    open?.close();
    open = scale = null; // also when the next one can't be opened
    open = ImageIndex.open(folder);
  }
  return open;
}

const found = (index: ImageIndex, row: number, score: number | null = null): FoundImage => ({
  ...{ row, path: index.pathOf(row), name: index.images[row]!.path, label: index.images[row]!.label },
  ...{ score, share: null },
});

/** An image with its similarity to something, and what that means in this index. */
const similar = (index: ImageIndex, row: number, similarity: number): FoundImage => {
  scale ??= pairSimilarities(index);
  return { ...found(index, row, similarity), share: shareBelow(scale, similarity) };
};

function labelsOf(index: ImageIndex): { kind: 'labels'; groups: LabelGroup[]; damaged: number } {
  const { labels, damaged } = readLabels(index);
  const groups = new Map<string, number[]>();
  for (const [row, label] of labels) {
    const rows = groups.get(label);
    if (rows === undefined) groups.set(label, [row]);
    else rows.push(row);
  }
  const sorted = [...groups].sort(([a], [b]) => a.localeCompare(b, 'en'));
  return { kind: 'labels', groups: sorted.map(([label, rows]) => ({ label, rows })), damaged };
}

/** An error on an image that came as bytes: the library names them by their place in its call, which a person doesn't see. */
const named = (error: unknown): unknown =>
  error instanceof DataError
    ? new DataError(error.message.replace(/^plus\[\d+\]: /, 'the image: '), {
        cause: error,
      })
    : error;

export const run: JobFunction<'find'> = async ({ index: folder, ask }, { signal }) => {
  const index = indexAt(folder);
  // an image that was removed moves the rows of all after it: they would name other images than the page shows
  if (ask.kind !== 'about' && ask.generation !== writingOf(index.manifest))
    throw new StudioError(
      409,
      'The index was brought up to date since this page read it, and nothing was done: open it again.',
      'CHANGED',
    );
  const some = (rows: readonly number[]): FoundImage[] => {
    if (rows.some((row) => !(row >= 0 && row < index.count)))
      throw new ConfigError(
        `rows that the index of ${index.count} images lacks: was it changed? Open it again`,
      );
    return rows.map((row) => found(index, row));
  };
  switch (ask.kind) {
    case 'about': {
      const { images, weights, settings, whitening } = index.manifest;
      const { files } = readManifest(folder); // a map is added without another generation
      const skipped = index.skipped();
      return {
        kind: 'about',
        about: {
          folder,
          ...{ generation: writingOf(index.manifest), numHeads: weights.numHeads },
          ...{ images: index.count, width: index.width, source: images.source },
          ...{ weights: weights.given, features: settings.features, hasMap: files.map !== null },
          whitening: { mode: whitening.mode, reason: whitening.reason },
          skipped: { count: skipped.length, first: skipped.slice(0, LISTED) },
        },
      };
    }
    case 'map':
      return { kind: 'map', positions: readMap(index) };
    case 'images':
      return { kind: 'images', images: some(ask.rows) };
    case 'names': {
      const { root } = index.manifest.images;
      return { kind: 'names', root: path.resolve(root), names: index.images.map((image) => image.path) };
    }
    case 'search': {
      const { plus, minus, region, image, top } = ask;
      some([...plus, ...minus]);
      const given = [...(ask.files ?? []), ...(image === undefined ? [] : [image])];
      const matches = await searchIndex(index, {
        // a region is cut only from files that the route has checked, or from an image that came with the question
        ...{ plus: region === undefined ? [...plus, ...given] : given, minus, top, signal },
        ...(region === undefined ? {} : { region }),
        model: () => loadIndexModel(index),
      }).catch((error: unknown) => {
        throw image === undefined ? error : named(error);
      });
      return {
        kind: 'images',
        images: matches.map(({ row, similarity }) => similar(index, row, similarity)),
      };
    }
    case 'duplicates': {
      const threshold = ask.threshold ?? (await duplicateThreshold(index, { signal }));
      const groups = await findDuplicates(index, { threshold, signal });
      return {
        ...{ kind: 'groups', size: threshold },
        groups: groups.map(({ keep, copies }) => ({
          rows: [keep.row, ...copies.map(({ row }) => row)],
          images: [
            found(index, keep.row),
            ...copies.slice(0, SHOWN - 1).map(({ row, similarity }) => similar(index, row, similarity)),
          ],
        })),
      };
    }
    case 'pairs': {
      const threshold = await duplicateThreshold(index, { signal });
      const { pairs, isAll } = await similarPairs(index, PAIRS, { signal });
      return {
        ...{ kind: 'pairs', threshold, isAll },
        rows: pairs.flatMap(({ a, b }) => [a, b]),
        similarities: pairs.map(({ similarity }) => Math.min(1, similarity)),
      };
    }
    case 'clusters': {
      const { clusters } = await clusterIndex(index, {
        ...{ typical: SHOWN, signal },
        ...(ask.clusters === undefined ? {} : { clusters: ask.clusters }),
      });
      return {
        ...{ kind: 'groups', size: clusters.length },
        groups: clusters.map(({ rows, typical }) => ({
          rows,
          images: typical.map(({ row, similarity }) => found(index, row, similarity)),
        })),
      };
    }
    case 'outliers': {
      const scores = new Array<number>(index.count).fill(0);
      for (const { row, deviation } of await findOutliers(index, { top: index.count, signal }))
        scores[row] = Number(deviation.toFixed(3));
      return { kind: 'scores', scores };
    }
    case 'select': {
      const { size, by } = ask;
      const labelled = [...readLabels(index).labels.keys()];
      return { kind: 'images', images: some(await selectImages(index, { size, by, labelled, signal })) };
    }
    case 'label':
      some(ask.rows);
      labelImages(index, ask.rows, ask.label);
      return labelsOf(index);
    case 'labels':
      return labelsOf(index);
    case 'propose': {
      const proposals = await proposeLabels(index, { labels: readLabels(index).labels, signal });
      return {
        kind: 'proposals',
        proposals: proposals.map(({ row, label, certainty }) => ({
          ...found(index, row, certainty),
          proposed: label,
        })),
      };
    }
    case 'put': {
      const { groups, how, target } = ask;
      const all = imagesOf(groups);
      if (how === 'table') writeLabels(target, groups);
      else if (how === 'list') writeList(target, all);
      else putImages(groups, { folder: target, how, within: index.manifest.images.root });
      return { kind: 'exported', count: all.length };
    }
  }
};
