/** Files that a source has and its list has not: how many of which kind, and the line that says so. */
import { printable } from '../../plain/printable.js';

/** What was left out of a list. Hidden files (names that begin with a dot) and our own indexes are not counted. */
export interface LeftOut {
  /** Files, or members of shards. */
  count: number;
  /** How many of each extension, in lower case with its dot; '' has those without one, OTHERS those beyond the 50th. */
  byExtension: Record<string, number>;
}

/** What lists have to say besides their images. */
export interface ListNotes {
  leftOut: LeftOut;
  /** Lines to show: what was left out, and what was taken in a way that may not be meant. */
  remarks: string[];
}

/** Stands for all extensions after the first {@link MOST_KINDS}. */
export const OTHERS = '.*';
const MOST_KINDS = 50;
/** Extensions that the line names. */
const SHOWN = 5;

/** Counts files by extension. */
export class LeftOutCounter {
  readonly #counts = new Map<string, number>();

  add(name: string, count = 1): void {
    this.addKind(extensionOf(name), count);
  }

  addKind(extension: string, count: number): void {
    const known = this.#counts.get(extension);
    if (known === undefined && this.#counts.size >= MOST_KINDS) {
      if (extension !== OTHERS) return this.addKind(OTHERS, count);
    }
    this.#counts.set(extension, (known ?? 0) + count);
  }

  addAll({ byExtension }: LeftOut): void {
    for (const [extension, count] of Object.entries(byExtension)) this.addKind(extension, count);
  }

  finish(): LeftOut {
    const sorted = [...this.#counts].sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1));
    return {
      count: sorted.reduce((sum, [, count]) => sum + count, 0),
      byExtension: Object.fromEntries(sorted),
    };
  }
}

/** '.bmp' of 'a/b.BMP'; '' without one, and for what is too long for an extension. */
function extensionOf(name: string): string {
  const extension = /(?<=[^/])\.[^./\s]{1,16}$/.exec(name)?.[0].toLowerCase() ?? '';
  return /^\.\d+$/.test(extension) ? '' : extension;
}

/** '27 .bmp, 9 .heic' */
export function kindsOf({ byExtension, count }: LeftOut): string {
  const kinds = Object.entries(byExtension)
    .filter(([extension]) => extension !== OTHERS)
    .slice(0, SHOWN);
  const rest = count - kinds.reduce((sum, [, n]) => sum + n, 0);
  return [
    ...kinds.map(([extension, n]) => `${n} ${printable(extension) || 'without an extension'}`),
    ...(rest > 0 ? [`${rest} of other kinds`] : []),
  ].join(', ');
}

/** 'photos: 36 other files were left out (27 .bmp, 9 .heic)'; no line when there are none. */
export function leftOutLines(source: string, leftOut: LeftOut): string[] {
  const { count } = leftOut;
  if (count === 0) return [];
  const what = count === 1 ? 'other file was' : 'other files were';
  return [`${printable(source)}: ${count} ${what} left out (${kindsOf(leftOut)})`];
}

/** What several lists have to say together, for the result of what used them. A source that is used twice counts once. */
export function notesOf(...lists: readonly (Partial<ListNotes> & { source?: string })[]): ListNotes {
  const counter = new LeftOutCounter();
  const seen = new Set<string>();
  for (const { leftOut, source } of lists) {
    if (leftOut === undefined || (source !== undefined && seen.has(source))) continue;
    if (source !== undefined) seen.add(source);
    counter.addAll(leftOut);
  }
  return {
    leftOut: counter.finish(),
    remarks: [...new Set(lists.flatMap(({ remarks = [] }) => remarks))],
  };
}
