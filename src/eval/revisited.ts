/**
 * The ground truth of Revisited Oxford and Paris (Radenovic et al. 2018): `NAME/gnd_NAME.pkl` with the names of images
 * and queries, and for each query its box and the numbers of its easy, hard and junk images; pictures in `NAME/jpg`. The
 * pickle is read as data (src/weights/pickle.ts): nothing in it runs.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { DataError } from '../errors.js';
import { readGuarded } from '../files/guarded.js';
import type { Box } from '../data/index.js';
import { readPickle } from '../weights/pickle.js';
import { NumpyArray } from '../weights/pickle-values.js';
import type { Truth } from './retrieval-scores.js';

/** The most bytes of a ground truth; that of Revisited Paris has 300 kB. */
const MAX_TRUTH = 2 ** 28;

export interface QueryTruth {
  /** Left, top, right and bottom of the object to search for, in pixels of the query's image. */
  box: Box;
  /** Numbers of images. */
  easy: number[];
  hard: number[];
  junk: number[];
}

export interface Revisited {
  /** Paths of the images to search. */
  images: string[];
  queries: string[];
  truths: QueryTruth[];
}

/** Which images count in each protocol, and which are ignored. The reference's script has `medium` and `hard`. */
export const PROTOCOLS = ['easy', 'medium', 'hard'] as const;
export type Protocol = (typeof PROTOCOLS)[number];

export function truthOf({ easy, hard, junk }: QueryTruth, protocol: Protocol): Truth {
  if (protocol === 'easy') return { ok: easy, junk: [...junk, ...hard] };
  if (protocol === 'hard') return { ok: hard, junk: [...junk, ...easy] };
  return { ok: [...easy, ...hard], junk };
}

/** A list or a numpy array of numbers; null for anything else. */
function numbersOf(value: unknown): number[] | null {
  const list = value instanceof NumpyArray ? value.toArray() : value;
  return Array.isArray(list) && list.every((item) => typeof item === 'number') ? [...list] : null;
}

function namesOf(value: unknown): string[] | null {
  const list = value instanceof NumpyArray ? value.toArray() : value;
  return Array.isArray(list) && list.every((item) => typeof item === 'string') ? [...list] : null;
}

function parse(value: unknown, problems: string[]): Omit<Revisited, 'truths'> & { truths: QueryTruth[] } {
  const entries: ReadonlyMap<unknown, unknown> = value instanceof Map ? value : new Map();
  const images = namesOf(entries.get('imlist'));
  const queries = namesOf(entries.get('qimlist'));
  const gnd: unknown = entries.get('gnd');
  if (images === null) problems.push('imlist is not a list of names');
  if (queries === null) problems.push('qimlist is not a list of names');
  if (!Array.isArray(gnd)) problems.push('gnd is not a list');
  if (images === null || queries === null || !Array.isArray(gnd))
    return { images: [], queries: [], truths: [] };
  if (gnd.length !== queries.length)
    problems.push(`gnd has ${gnd.length} entries for ${queries.length} queries`);
  const truths = gnd.map((entry: unknown, query): QueryTruth => {
    const fields: ReadonlyMap<unknown, unknown> = entry instanceof Map ? entry : new Map();
    const read = (key: 'easy' | 'hard' | 'junk'): number[] => {
      const list = numbersOf(fields.get(key));
      if (list === null) {
        problems.push(`gnd[${query}].${key} is not a list of numbers`);
        return [];
      }
      const wrong = list.find((index) => !(Number.isInteger(index) && index >= 0 && index < images.length));
      if (wrong !== undefined) {
        problems.push(`gnd[${query}].${key} has ${wrong}, but there are ${images.length} images`);
      }
      return list;
    };
    const box = numbersOf(fields.get('bbx'));
    if (box?.length !== 4 || !box.every(Number.isFinite))
      problems.push(`gnd[${query}].bbx is not a box of four numbers`);
    const [left = 0, top = 0, right = 0, bottom = 0] = box ?? [];
    return { box: [left, top, right, bottom], easy: read('easy'), hard: read('hard'), junk: read('junk') };
  });
  return { images, queries, truths };
}

/** As many problems as fit one message: those of all queries, which come first, and of some images. */
const MOST = 100;

function listed(lines: readonly string[]): string {
  const more = lines.length > MOST ? `\n  and ${lines.length - MOST} more` : '';
  return `${lines
    .slice(0, MOST)
    .map((line) => `\n  ${line}`)
    .join('')}${more}`;
}

/**
 * Reads a data set.
 *
 * @param root - The folder that holds the data set's folder.
 * @param dataset - `roxford5k`, `rparis6k`, or another one with the same layout.
 * @throws DataError when the ground truth is missing or makes no sense (all problems), or images that it names are
 *   missing (all named); CheckpointError when its pickle holds more than data.
 */
export function readRevisited(root: string, dataset: string): Revisited {
  const folder = path.join(root, dataset);
  const file = path.join(folder, `gnd_${dataset}.pkl`);
  let bytes: Uint8Array;
  try {
    bytes = readGuarded(file, { maxBytes: MAX_TRUTH });
  } catch (error) {
    throw new DataError(
      `${file} can't be read: ${(error as Error).message}. Expected ${dataset}/gnd_${dataset}.pkl and ${dataset}/jpg in ` +
        `${root}; the ground truth comes from the revisitop project.`,
      { cause: error },
    );
  }
  const problems: string[] = [];
  const { images, queries, truths } = parse(readPickle(bytes, file), problems);
  if (problems.length === 0 && (images.length === 0 || queries.length === 0))
    problems.push(`it names ${images.length} images and ${queries.length} queries`);
  if (problems.length > 0)
    throw new DataError(`${file} is not a ground truth in Revisited's format:${listed(problems)}`);
  const pathOf = (name: string): string => path.join(folder, 'jpg', `${name}.jpg`);
  const found = { images: images.map(pathOf), queries: queries.map(pathOf), truths };
  const missing = (what: string, files: readonly string[]): string[] =>
    [...new Set(files)].filter((name) => !existsSync(name)).map((name) => `${what}: ${name}`);
  const absent = [...missing('query', found.queries), ...missing('image', found.images)];
  if (absent.length > 0) {
    throw new DataError(`${file} names ${absent.length} files that are missing:${listed(absent)}`);
  }
  return found;
}
