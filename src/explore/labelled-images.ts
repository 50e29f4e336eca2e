/** The labelled images of an index as a list, from which a classifier can be fitted. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { checkCall } from '../plain/check-options.js';
import { compareCodePoints } from '../plain/code-points.js';
import { printable } from '../plain/printable.js';
import { DataError } from '../errors.js';
import type { ImageItem, ImageList } from '../data/index.js';
import { indexArgument } from './arguments.js';
import type { ImageIndex } from './image-index.js';
import { manifestPath } from './index-format.js';
import { readLabels, unmatchedLine } from './labels.js';

/** Whether a path is a folder with an index in it. */
export const isIndexFolder = (folder: string): boolean => existsSync(manifestPath(folder));

/**
 * The images that people labelled, by labelImages() or in the studio, in the order of the index. Those that are missing now, or
 * lie outside the folder of the index's images, are in `unreadable`.
 *
 * @throws DataError when no image has a label, or none that has one can be read.
 */
export function labelledImages(index: ImageIndex): ImageList {
  checkCall('labelledImages()', indexArgument(index));
  const { labels, damaged } = readLabels(index);
  const { folder, manifest } = index;
  const { root } = manifest.images;
  const classes = [...new Set(labels.values())].sort(compareCodePoints);
  const items: ImageItem[] = [];
  const unreadable: ImageList['unreadable'] = [];
  const hash = createHash('sha256');
  for (const [row, label] of labels) {
    try {
      index.fileOf(row); // refuses what lies outside
      items.push({ path: index.pathOf(row), label: classes.indexOf(label) });
      hash.update(`${index.images[row]!.path}\0${label}\0`);
    } catch (error) {
      unreadable.push({ path: index.pathOf(row), reason: (error as Error).message });
    }
  }
  if (labels.size === 0)
    throw new DataError(
      `no image of ${printable(folder)} has a label: label some in the studio, or give a folder with one folder per class`,
    );
  if (items.length === 0)
    throw new DataError(`no labelled image of ${printable(folder)} can be read: ${unreadable[0]!.reason}`);
  const without = index.count - labels.size;
  return {
    ...{ items, classes, root, source: folder, unreadable, fingerprint: hash.digest('hex') },
    leftOut: { count: 0, byExtension: {} },
    remarks: [
      ...(without > 0
        ? [`${printable(folder)}: ${without} of ${index.count} images have no label and were left out`]
        : []),
      ...unmatchedLine(index),
      ...(damaged > 0 ? [`${printable(folder)}: ${damaged} damaged lines of labels were left out`] : []),
    ],
  };
}
