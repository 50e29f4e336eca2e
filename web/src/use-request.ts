/** How a component asks the server; see use-answer.ts for how answers and errors are handled. */
import { useMemo } from 'preact/hooks';
import { type Given, type ReplyOf, request, type RouteName } from './api.ts';
import { type Answer, type AnswerOptions, useAnswer } from './use-answer.ts';

export interface RequestOptions<K extends RouteName, T> extends AnswerOptions {
  /** Makes the answer from the reply, once. What it throws is the error. */
  read?: (reply: ReplyOf<K>) => T;
}

/**
 * Calls a route of src/plain/studio-api/index.ts whenever `given` (its params, query and body) changes:
 *
 *     const { answer, error } = useRequest('GET /api/folders', { query: { path } });
 *
 * or when `ask()` is called:
 *
 *     const { ask, isBusy, error } = useRequest('POST /api/start/train');
 *     … onClick={() => void ask({ body })}
 */
export function useRequest<K extends RouteName, T = ReplyOf<K>>(
  route: K,
  given: Given<K> | null = null,
  { read = (reply) => reply as unknown as T, ...options }: RequestOptions<K, T> = {},
): Answer<Given<K>, T> {
  const question = useMemo(() => given, [JSON.stringify(given)]);
  const work = async (asked: Given<K>, signal?: AbortSignal): Promise<T> =>
    read(await request(route, asked, signal));
  return useAnswer(work, question, options);
}
