/** Patterns that name shards, `shard-{000000..000127}.tar`, `data/train-*.parquet`, `{a,b}.tar`, and what is refused. */
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { DataError } from '../../../errors.js';
import { printable } from '../../../plain/printable.js';
import { hasWildcards, wildcardExpression } from '../../../plain/wildcards.js';

export const SHARD_EXTENSIONS: readonly string[] = ['.tar', '.parquet'];

/** Archives without random access: recognized so that the error can say what to do. */
const COMPRESSED = /\.(tar\.(gz|bz2|xz|zst|lz4)|tgz|tbz2|txz)$/i;

export const isShard = (name: string): boolean => SHARD_EXTENSIONS.includes(path.extname(name).toLowerCase());

/** Whether a source is a pattern of shards: it has braces, an asterisk or a question mark, and a shard's extension. */
export const isShardPattern = (source: string): boolean =>
  (isShard(source) && /[*?]|\{[^{}]*(\.\.|,)[^{}]*\}/.test(source)) || COMPRESSED.test(source);

/** Most names that a pattern may stand for. */
const MOST = 1_000_000;

/** The names that a pattern with braces stands for, as in a shell. */
export function expandBraces(pattern: string): string[] {
  const match = /^(.*?)\{([^{}]*)\}(.*)$/s.exec(pattern);
  if (match === null) return [pattern];
  const [, before, inside, after] = match as unknown as [string, string, string, string];
  const range = /^(-?\d+)\.\.(-?\d+)$/.exec(inside);
  let choices: string[];
  if (range !== null) {
    const [first, last] = [range[1]!, range[2]!];
    const [from, to] = [Number(first), Number(last)];
    const count = Math.abs(to - from) + 1;
    if (count > MOST) throw new DataError(`${pattern} stands for ${count} shards, more than ${MOST}`);
    const width = /^-?0\d/.test(first) || /^-?0\d/.test(last) ? Math.max(first.length, last.length) : 0;
    const step = to < from ? -1 : 1;
    choices = Array.from({ length: count }, (_, i) => String(from + step * i).padStart(width, '0'));
  } else if (inside.includes(',')) {
    choices = inside.split(',');
  } else {
    return expandBraces(after).map((rest) => `${before}{${inside}}${rest}`);
  }
  const rests = expandBraces(after);
  if (rests.length * choices.length > MOST)
    throw new DataError(`${pattern} stands for more than ${MOST} shards`);
  return choices.flatMap((choice) => rests.map((rest) => before + choice + rest));
}

/** The files that a path stands for: its last part may have asterisks and question marks. */
async function expandWildcards(name: string): Promise<string[]> {
  const base = path.basename(name);
  if (!hasWildcards(base)) return [path.resolve(name)];
  const folder = path.dirname(path.resolve(name));
  const expression = wildcardExpression(base);
  let entries: string[];
  try {
    entries = await readdir(folder);
  } catch (error) {
    throw new DataError(`Can't read ${folder}: ${(error as Error).message}`, { cause: error });
  }
  return entries
    .filter((entry) => !entry.startsWith('.') && expression.test(entry))
    .sort()
    .map((entry) => path.join(folder, entry));
}

/** Of a compressed archive, why it is not read and what to do; null for any other name. */
export const compressedWords = (source: string): string | null =>
  COMPRESSED.test(source)
    ? `${printable(source)} is compressed: images can't be read from it in random order. Unpack it (images are compressed ` +
      'already, so the .tar is hardly larger) and give the .tar.'
    : null;

/** @throws DataError for a compressed archive, which says what to do */
export function refuseCompressed(source: string): void {
  const words = compressedWords(source);
  if (words !== null) throw new DataError(words);
}

/**
 * The shards that a pattern names, absolute, in its order.
 * @throws DataError when it names none, or archives that can't be read as they are
 */
export async function expandShardPattern(pattern: string): Promise<string[]> {
  refuseCompressed(pattern);
  // a shard that two alternatives name is one
  const files = [...new Set((await Promise.all(expandBraces(pattern).map(expandWildcards))).flat())];
  if (files.length === 0) throw new DataError(`${pattern} names no shards: no file matches`);
  return files;
}

const SPLITS: Readonly<Record<string, string>> = {
  ...{ train: 'train', training: 'train', val: 'validation', valid: 'validation', validation: 'validation' },
  ...{ dev: 'validation', test: 'test' },
};

/** The split of a data set that a shard's path names; null for none. */
function splitOf(name: string): string | null {
  for (const word of name.toLowerCase().split(/[^a-z]+/)) {
    if (Object.hasOwn(SPLITS, word)) return SPLITS[word]!;
  }
  return null;
}

/**
 * Refuses a folder whose shards are several splits of a data set, as in Hugging Face's repositories.
 * @throws DataError that names the splits
 */
export function checkOneSplit(folder: string, files: readonly string[]): void {
  const splits = new Map<string, string>();
  for (const file of files) {
    const split = splitOf(path.relative(folder, file));
    if (split !== null && !splits.has(split)) splits.set(split, file);
  }
  if (splits.size < 2) return;
  const [[, example]] = [...splits] as [[string, string]];
  const pattern = example.replace(/\d+(-of-\d+)?(?=\.\w+$)/, '*').replace(/-\*-of.*(?=\.\w+$)/, '-*');
  throw new DataError(
    `${folder} holds shards of ${[...splits.keys()].join(', ')}: they are not mixed. ` +
      `Name the shards of one of them, for example '${pattern}'.`,
  );
}
