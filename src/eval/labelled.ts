/** Labelled images: one folder of them, and the two that k-NN and the linear classifier are measured on. */
import { statSync } from 'node:fs';
import path from 'node:path';
import { type ImageList, listImages, type ListNotes, notesOf, onlyLabelled } from '../data/index.js';
import { DataError } from '../errors.js';
import { fewNames } from '../plain/few-names.js';
import { printable } from '../plain/printable.js';

/** Classes that a message names. */
export const NAMED = 10;

export interface LabelledList extends ImageList {
  classes: string[];
}

/**
 * Lists labelled images; those without a label are left out, and counted.
 * @param what - Name of the argument, for the message.
 * @throws DataError when there are no images, or none has a label.
 */
export async function labelledList(source: string | ImageList, what: string): Promise<LabelledList> {
  const list =
    typeof source === 'string' ? await listImages(source, { onlyLabelled: true }) : onlyLabelled(source);
  const { classes } = list;
  if (classes !== null) return { ...list, classes };
  const beside = list.items.map((item) => item.path).filter((file) => path.dirname(file) === list.root);
  const isMixed = beside.length > 0 && beside.length < list.items.length;
  throw new DataError(
    `${printable(list.source)} (${what}) has no labels: expected a folder with one folder per class, or shards with ` +
      `labels. ` +
      (isMixed
        ? `${beside.length} of its ${list.items.length} images ${beside.length === 1 ? 'is' : 'are'} not in a class folder, for example ${printable(beside[0]!)}: ` +
          'list it with onlyLabelled to leave them out.'
        : 'Only evaluations and classifiers need labels; training does not.'),
  );
}

const isFolder = (name: string): boolean => statSync(name, { throwIfNoEntry: false })?.isDirectory() === true;

export interface LabelledPair extends ListNotes {
  train: LabelledList;
  val: LabelledList;
  /** Number of a class in `train`, for each class of `val`. */
  inTrain: number[];
}

/**
 * Lists both and matches their classes by name (the reference matches them by order, which shifts when one folder lacks
 * a class). Names that differ only in how their characters are composed (macOS writes é as two characters, Linux as one)
 * match too, with a remark.
 * @throws DataError when one has no labels or no images, or val has classes that train lacks (all named).
 */
export async function labelledPair(
  trainSource: string | ImageList,
  valSource: string | ImageList,
  names = { train: '--train', val: '--val' },
): Promise<LabelledPair> {
  const train = await labelledList(trainSource, names.train);
  const val = await labelledList(valSource, names.val);
  const inTrain = numbersIn(train.classes, val.classes, (unknown) => {
    const named = unknown.map((name) =>
      isFolder(path.join(train.root, name)) ? `${name} (its folder holds no images)` : name,
    );
    return `${val.root} has classes that ${train.root} lacks: ${fewNames(named, NAMED)}. Class folders must have the same names.`;
  });
  const notes = notesOf(train, val);
  const exact = new Set(train.classes);
  const alike = val.classes.filter((name) => !exact.has(name));
  if (alike.length > 0) {
    notes.remarks.push(
      `${alike.length} of ${val.classes.length} class names of ${printable(val.source)} are composed differently in ` +
        `${printable(train.source)} (Unicode NFC and NFD), for example ${printable(alike[0]!)}: they count as the same classes`,
    );
  }
  return { train, val, inTrain, ...notes };
}

/**
 * The numbers of classes among known ones, by their names, however these are composed.
 * @param refusal - The message when some are not known.
 * @throws DataError with it.
 */
export function numbersIn(
  known: readonly string[],
  classes: readonly string[],
  refusal: (unknown: string[]) => string,
): number[] {
  const exact = new Map(known.map((name, index) => [name, index]));
  const composed = byComposedName(known);
  const numbers = classes.map((name) => exact.get(name) ?? composed.get(name.normalize('NFC')));
  const unknown = classes.filter((_, i) => numbers[i] === undefined);
  if (unknown.length > 0) throw new DataError(refusal(unknown));
  return numbers as number[];
}

/** Numbers of the classes by their names in NFC; names that are the same in it are ambiguous and not in here. */
function byComposedName(classes: readonly string[]): Map<string, number> {
  const numbers = new Map<string, number>();
  const twice = new Set<string>();
  classes.forEach((name, index) => {
    const composed = name.normalize('NFC');
    if (numbers.has(composed)) twice.add(composed);
    numbers.set(composed, index);
  });
  for (const name of twice) numbers.delete(name);
  return numbers;
}
