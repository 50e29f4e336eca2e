/** Folders of trainings among images: their pictures (RUN/watch) are no part of the data set, and they appear while a run trains. */
import { compareCodePoints } from '../../plain/code-points.js';
import { fewNames } from '../../plain/few-names.js';
import { printable } from '../../plain/printable.js';
import { holdsRun } from '../../plain/run-names.js';
import path from 'node:path';

/** Names that a line gives as examples. */
const SHOWN = 5;

/** Whether a folder below the root of a list, with these entries, is that of a run. */
export const isRunBelow = (entries: readonly { name: string }[], ancestors: readonly string[]): boolean =>
  ancestors.length > 0 && holdsRun(new Set(entries.map(({ name }) => name)));

/** 'photos: 1 folder of a training was left out: runs/first'; no line when there are none. */
export function runLines(root: string, runs: readonly string[]): string[] {
  if (runs.length === 0) return [];
  const names = runs.map((run) => path.relative(root, run)).sort(compareCodePoints);
  return [
    `${printable(root)}: ${names.length} ${names.length === 1 ? 'folder of a training was' : 'folders of trainings were'} left out: ` +
      fewNames(names, SHOWN),
  ];
}
