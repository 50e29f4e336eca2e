/** What the parts of Find share: asking an index, and the images that are chosen. */
import { type FindAnswer, type FindAsk, request } from '../api.ts';

/** x, y, width, height as shares of the image's sides. */
export type Region = readonly [x: number, y: number, width: number, height: number];

/** A search with an image that is not in the index, or with a part of it. */
export interface ImageSearch {
  kind: 'image';
  image: Blob;
  region?: Region;
}

/** Images that a search shows. */
export const TOP = 40;

export async function askIndex(
  index: string,
  question: FindAsk | ImageSearch,
  signal?: AbortSignal,
): Promise<FindAnswer> {
  if (question.kind !== 'image')
    return request('POST /api/find/ask', { body: { index, ask: question } }, signal);
  const { image, region } = question;
  const query = { index, top: TOP, region: region?.join(',') };
  return request('POST /api/upload/find', { query, body: image }, signal);
}

type AnswerOf<K extends FindAnswer['kind']> = Extract<FindAnswer, { kind: K }>;

/** Reads an answer of the kind that was asked for. */
export const ofKind =
  <K extends FindAnswer['kind']>(kind: K) =>
  (answer: FindAnswer): AnswerOf<K> => {
    if (answer.kind !== kind) throw new Error(`internal: expected ${kind}, got ${answer.kind}`);
    return answer as AnswerOf<K>;
  };

/** Asks, and shows the answer under a title. */
export type Show = (title: string, question: FindAsk | ImageSearch) => void;

/** Rows of the index. */
export interface Chosen {
  plus: ReadonlySet<number>;
  minus: ReadonlySet<number>;
  selected: ReadonlySet<number>;
}
