/**
 * The nearest real name to a mistyped one, for error messages about flags, settings and tensor keys. No imports,
 * because the command line loads it before anything else.
 */

/** Names are compared without case and without the separators that people mix up. */
const normalize = (name: string): string => name.toLowerCase().replace(/[-_.]/g, '');

/** Edits (insert, delete, replace, swap of neighbours) between two strings: optimal string alignment. */
export function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replace = last[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      let best = Math.min(last[j]! + 1, row[j - 1]! + 1, replace);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        best = Math.min(best, beforeLast[j - 2]! + 1);
      }
      row.push(best);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length]!;
}

/**
 * The candidate nearest to `name`, or null when none is close enough to be what was meant: at most a third of the letters
 * differ, or one name is a prefix of the other.
 */
export function nearestName(name: string, candidates: Iterable<string>): string | null {
  const wanted = normalize(name);
  let best: string | null = null;
  let bestScore = Infinity;
  for (const candidate of candidates) {
    const other = normalize(candidate);
    const distance = editDistance(wanted, other);
    const isPrefix = wanted.length >= 3 && (other.startsWith(wanted) || wanted.startsWith(other));
    const limit = Math.max(1, Math.floor(Math.max(wanted.length, other.length) / 3));
    const score = distance <= limit ? distance : isPrefix ? limit + distance / 100 : Infinity;
    if (score < bestScore) {
      best = candidate;
      bestScore = score;
    }
  }
  return best;
}

/** ` (did you mean X?)`, or an empty string. */
export function didYouMean(name: string, candidates: Iterable<string>): string {
  const near = nearestName(name, candidates);
  return near === null ? '' : ` (did you mean ${near}?)`;
}
