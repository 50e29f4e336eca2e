/**
 * What a person has marked in an index: images that are selected, liked and unliked, and what a lasso holds. It stays in the
 * browser's session, and what was done can be undone.
 */
import { effect, signal } from '@preact/signals';
import { keep, kept } from '../session.ts';

export interface Marks {
  selected: ReadonlySet<number>;
  like: ReadonlySet<number>;
  unlike: ReadonlySet<number>;
  /** Only these are shown; null: all. */
  lasso: ReadonlySet<number> | null;
}
export type Mark = 'selected' | 'like' | 'unlike';

const NONE: Marks = { selected: new Set(), like: new Set(), unlike: new Set(), lasso: null };

export const marks = signal<Marks>(NONE);
/** The image that the pointer is over, in the grid or on the map. */
export const hovered = signal<number | null>(null);

interface Undoable {
  /** What was done. */
  what: string;
  undo: () => void;
}
const MOST_UNDONE = 100;
export const done = signal<readonly Undoable[]>([]);

export function remember(what: string, undo: () => void): void {
  done.value = [...done.value, { what, undo }].slice(-MOST_UNDONE);
}

/** Takes back what was done last. */
export function undoLast(): void {
  const last = done.value.at(-1);
  done.value = done.value.slice(0, -1);
  last?.undo();
}

/** Rising rows as text: 0,3-17. */
export function rangesOf(rows: Iterable<number>): string {
  const parts: string[] = [];
  let [from, to] = [-1, -2];
  const end = (): void => {
    if (from >= 0) parts.push(from === to ? String(from) : `${from}-${to}`);
  };
  for (const row of [...rows].sort((a, b) => a - b)) {
    if (row !== to + 1) {
      end();
      from = row;
    }
    to = row;
  }
  end();
  return parts.join(',');
}

/** What rangesOf() wrote; rows from `count` on are left out. */
export function rowsOfRanges(text: string, count: number): Set<number> {
  const rows = new Set<number>();
  for (const part of text.split(',').filter((one) => one !== '')) {
    const [from, to = from] = part.split('-').map(Number);
    if (!Number.isInteger(from) || !Number.isInteger(to)) continue;
    for (let row = from!; row <= Math.min(to!, count - 1); row++) rows.add(row);
  }
  return rows;
}

const keyOf = (folder: string): string => `dino-studio-find ${folder}`;
let opened: { folder: string; generation: number } | null = null;

/**
 * Brings back the marks of an index; those of another generation of it belong to other rows, and are dropped.
 * @returns Whether it was of another generation when this tab had it open before: the rows in the address are that one's.
 */
export function openMarks(folder: string, generation: number, count: number): boolean {
  if (opened?.folder === folder && opened.generation === generation) return false;
  opened = { folder, generation };
  done.value = [];
  hovered.value = null;
  let before: { generation?: unknown } & Partial<Record<keyof Marks, string>> = {};
  try {
    before = JSON.parse(kept(keyOf(folder)) ?? '{}') as typeof before;
  } catch {
    // what another version wrote
  }
  const rows = (name: keyof Marks): Set<number> =>
    rowsOfRanges(before.generation === generation ? (before[name] ?? '') : '', count);
  const lasso = rows('lasso');
  marks.value = {
    ...{ selected: rows('selected'), like: rows('like'), unlike: rows('unlike') },
    lasso: lasso.size > 0 ? lasso : null,
  };
  return before.generation !== undefined && before.generation !== generation;
}

effect(() => {
  const { selected, like, unlike, lasso } = marks.value;
  if (opened === null) return;
  const text = JSON.stringify({
    generation: opened.generation,
    ...{ selected: rangesOf(selected), like: rangesOf(like), unlike: rangesOf(unlike) },
    lasso: rangesOf(lasso ?? []),
  });
  keep(keyOf(opened.folder), text);
});

/** Changes marks in a way that can be undone. */
export function setMarks(what: string, change: Partial<Marks>): void {
  const before = marks.value;
  marks.value = { ...before, ...change };
  remember(what, () => (marks.value = before));
}

const WORDS: Readonly<Record<Mark, [on: string, off: string]>> = {
  selected: ['selected', 'no longer selected'],
  like: ['liked', 'no longer liked'],
  unlike: ['unliked', 'no longer unliked'],
};

/** Marks an image, or takes the mark away. An image is not liked and unliked at once. */
export function toggleMark(mark: Mark, row: number, name: string): void {
  const next = new Set(marks.value[mark]);
  const isOn = !next.delete(row);
  if (isOn) next.add(row);
  const other = mark === 'like' ? 'unlike' : 'like';
  const change: Partial<Marks> = { [mark]: next };
  if (isOn && mark !== 'selected') {
    const rest = new Set(marks.value[other]);
    rest.delete(row);
    change[other] = rest;
  }
  setMarks(`${name}: ${WORDS[mark][isOn ? 0 : 1]}`, change);
}

/** Adds to the selection. */
export const select = (rows: Iterable<number>, what: string): void =>
  setMarks(what, { selected: new Set([...marks.value.selected, ...rows]) });

export const clearMarks = (): void =>
  setMarks('all marks cleared', { selected: new Set(), like: new Set(), unlike: new Set() });
