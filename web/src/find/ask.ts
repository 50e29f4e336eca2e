/** How the parts of Find ask an index. */
import { useMemo } from 'preact/hooks';
import { type FindAnswer, type FindAsk, request } from '../api.ts';
import { useAnswer } from '../use-answer.ts';

/** Images that a search shows. */
export const TOP = 200;

/** An index that is open in the page. */
export interface OpenIndex {
  folder: string;
  generation: number;
}

export type AnswerOf<K extends FindAnswer['kind']> = Extract<FindAnswer, { kind: K }>;

export const askIndex = (folder: string, ask: FindAsk, signal?: AbortSignal): Promise<FindAnswer> =>
  request('POST /api/find/ask', { body: { index: folder, ask } }, signal);

/** Reads an answer of the kind that was asked for. */
export const ofKind =
  <K extends FindAnswer['kind']>(kind: K) =>
  (answer: FindAnswer): AnswerOf<K> => {
    if (answer.kind !== kind) throw new Error(`internal: expected ${kind}, got ${answer.kind}`);
    return answer as AnswerOf<K>;
  };

/** Answers that depend on nothing but the index: a view that is opened again has its answer immediately. */
const KEPT: ReadonlySet<FindAsk['kind']> = new Set([
  'names',
  'search',
  'duplicates',
  'pairs',
  'clusters',
  'outliers',
]);
const MOST_KEPT = 40;
const kept = new Map<string, FindAnswer>();

const keyOf = ({ folder, generation }: OpenIndex, ask: FindAsk | null): string =>
  JSON.stringify([folder, generation, ask]);

async function answerOf(index: OpenIndex, ask: FindAsk, signal?: AbortSignal): Promise<FindAnswer> {
  if (!KEPT.has(ask.kind)) return askIndex(index.folder, ask, signal);
  const key = keyOf(index, ask);
  const answer = kept.get(key) ?? (await askIndex(index.folder, ask, signal));
  kept.delete(key);
  kept.set(key, answer);
  for (const oldest of kept.keys()) if (kept.size > MOST_KEPT) kept.delete(oldest);
  return answer;
}

/**
 * Asks whenever the question changes. While a slider is dragged, the last answer to the same kind of question stays.
 * @param delay - Milliseconds that a new question must stay unchanged.
 */
export function useAsk(index: OpenIndex, question: FindAsk | null, delay = 0) {
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
