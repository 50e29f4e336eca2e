/** The two labelled image folders that k-NN and the linear classifier are measured on. */
import { statSync } from 'node:fs';
import path from 'node:path';
import { type ImageList, listImages } from '../data/index.js';
import { DataError } from '../errors.js';

export interface LabelledList extends ImageList {
  classes: string[];
}

function allLabelled({ items }: ImageList): boolean {
  for (const { label } of items) if (label === null) return false;
  return true;
}

async function labelled(source: string | ImageList, what: string): Promise<LabelledList> {
  const list = typeof source === 'string' ? await listImages(source) : source;
  const { classes } = list;
  if (classes === null || !allLabelled(list)) {
    throw new DataError(
      `${list.root} (--${what}) has no labels: expected a folder with one folder per class. ` +
        'Labels are used only for the evaluation.',
    );
  }
  return { ...list, classes };
}

const isFolder = (name: string): boolean => statSync(name, { throwIfNoEntry: false })?.isDirectory() === true;

export interface LabelledPair {
  train: LabelledList;
  val: LabelledList;
  /** Number of a class in `train`, for each class of `val`. */
  inTrain: number[];
}

/**
 * Lists both and matches their classes by name (the reference matches them by order, which shifts when one folder lacks
 * a class).
 * @throws DataError when one has no labels or no images, or val has classes that train lacks (all named).
 */
export async function labelledPair(
  trainSource: string | ImageList,
  valSource: string | ImageList,
): Promise<LabelledPair> {
  const train = await labelled(trainSource, 'train');
  const val = await labelled(valSource, 'val');
  const numberOf = new Map(train.classes.map((name, index) => [name, index]));
  const unknown = val.classes.filter((name) => !numberOf.has(name));
  if (unknown.length > 0) {
    const named = unknown
      .slice(0, 10)
      .map((name) => (isFolder(path.join(train.root, name)) ? `${name} (its folder holds no images)` : name));
    throw new DataError(
      `${val.root} has classes that ${train.root} lacks: ${named.join(', ')}` +
        `${unknown.length > 10 ? ` and ${unknown.length - 10} more` : ''}. Class folders must have the same names.`,
    );
  }
  return { train, val, inTrain: val.classes.map((name) => numberOf.get(name)!) };
}
