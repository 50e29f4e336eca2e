/** How the parts of Find ask an index. */
import { signal } from '@preact/signals';
import { useMemo } from 'preact/hooks';
import { type FindAnswer, type FindQuestion, request } from '../api.ts';
import { RequestError } from '../errors.ts';
import { useAnswer } from '../use-answer.ts';

/** Images that a search shows. */
export const TOP = 200;

/** An index that is open in the page: rows are those of its generation. */
export interface OpenIndex {
  folder: string;
  generation: number;
}

/** An open index that turned out to be of another generation by now: nothing can be asked of its rows any more. */
export const outdated = signal<{ index: OpenIndex; error: RequestError } | null>(null);

export const isOutdated = (error: unknown): error is RequestError =>
  error instanceof RequestError && error.code === 'CHANGED';

async function watched<T>(index: OpenIndex, reply: Promise<T>): Promise<T> {
  try {
    return await reply;
  } catch (error) {
    if (isOutdated(error)) outdated.value = { index, error };
    throw error;
  }
}

export type AnswerOf<K extends FindAnswer['kind']> = Extract<FindAnswer, { kind: K }>;

export function askIndex(
  index: OpenIndex,
  question: FindQuestion,
  signal?: AbortSignal,
): Promise<FindAnswer> {
  const { folder, generation } = index;
  const body = { index: folder, ask: { ...question, generation } };
  return watched(index, request('POST /api/find/ask', { body }, signal));
}

/** (N, 2): where each image is on the map. */
export async function mapOf(index: OpenIndex, signal?: AbortSignal): Promise<Float32Array> {
  const { folder, generation } = index;
  const query = { index: folder, generation };
  const bytes = await watched(index, request('GET /api/find/map', { query }, signal));
  return new Float32Array(bytes.slice().buffer);
}

/** Reads an answer of the kind that was asked for. */
export const ofKind =
  <K extends FindAnswer['kind']>(kind: K) =>
  (answer: FindAnswer): AnswerOf<K> => {
    if (answer.kind !== kind) throw new Error(`internal: expected ${kind}, got ${answer.kind}`);
    return answer as AnswerOf<K>;
  };

/** Answers that depend on nothing but the index: a view that is opened again has its answer immediately. */
const KEPT: ReadonlySet<FindQuestion['kind']> = new Set([
  'names',
  'search',
  'duplicates',
  'pairs',
  'clusters',
  'outliers',
]);
const MOST_KEPT = 40;
const kept = new Map<string, FindAnswer>();

const keyOf = ({ folder, generation }: OpenIndex, question: FindQuestion | null): string =>
  JSON.stringify([folder, generation, question]);

async function answerOf(index: OpenIndex, question: FindQuestion, signal?: AbortSignal): Promise<FindAnswer> {
  if (!KEPT.has(question.kind)) return askIndex(index, question, signal);
  const key = keyOf(index, question);
  const answer = kept.get(key) ?? (await askIndex(index, question, signal));
  kept.delete(key);
  kept.set(key, answer);
  for (const oldest of kept.keys()) if (kept.size > MOST_KEPT) kept.delete(oldest);
  return answer;
}

/**
 * Asks whenever the question changes. While a slider is dragged, the last answer to the same kind of question stays.
 * @param delay - Milliseconds that a new question must stay unchanged.
 */
export function useAsk(index: OpenIndex, question: FindQuestion | null, delay = 0) {
  const key = keyOf(index, question);
  const asked = useMemo(() => (question === null ? null : { index, question }), [key]);
  const { answer, error, isBusy } = useAnswer(
    async ({ index: of, question: what }, signal) => ({ what, found: await answerOf(of, what, signal) }),
    asked,
    { keep: true, delay: kept.has(key) ? 0 : delay },
  );
  const isSame = answer !== null && question !== null && answer.what.kind === question.kind && error === null;
  return { answer: isSame ? answer.found : null, error, isBusy };
}
