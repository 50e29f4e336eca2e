/**
 * One way for components to ask something that takes time: the answer, the error, and whether it is still pending. Answers
 * that nobody waits for any more are dropped. Requests to the server go through use-request.ts.
 */
import { useEffect, useRef, useState } from 'preact/hooks';

export interface AnswerOptions {
  /** The last answer stays until the next one arrives, also after errors. Otherwise the next question drops it. */
  keep?: boolean;
  /** Milliseconds that a question must stay unchanged before it is asked: for one that changes while a slider is dragged. */
  delay?: number;
  /** Milliseconds after an answer or an error until the same is asked again. */
  every?: number | undefined;
}

export interface Answer<Q, T> {
  /** null: there is none (yet). */
  answer: T | null;
  /** null: there is none. */
  error: unknown;
  /** The answer to the current question is awaited. */
  isBusy: boolean;
  /**
   * Asks at once. An earlier request is not aborted, since it may change something, but its answer is dropped.
   * @returns The answer; null when it failed (`error` says why) or is not wanted any more.
   */
  ask: (question: Q) => Promise<T | null>;
  /** Clears the answer and the error, and drops a pending answer. */
  clear: () => void;
}

interface State<Q, T> {
  /** The component's `question` that this belongs to. */
  question: Q | null;
  answer: T | null;
  error: unknown;
  isBusy: boolean;
}

const NOTHING = { question: null, answer: null, error: null, isBusy: false };

/**
 * Asks `question` whenever it has changed (by `===`), and aborts the request before; null asks nothing. A component
 * that asks when a button is pressed leaves `question` out and calls `ask()`.
 */
export function useAnswer<Q, T>(
  work: (question: Q, signal?: AbortSignal) => Promise<T>,
  question: Q | null = null,
  { keep = false, delay = 0, every }: AnswerOptions = {},
): Answer<Q, T> {
  const [state, setState] = useState<State<Q, T>>(NOTHING);
  /** Identifies the last request: answers to any other are dropped. */
  const latest = useRef<symbol | null>(null);

  const send = async (asked: Q, signal?: AbortSignal): Promise<T | null> => {
    const own = (latest.current = Symbol());
    setState((before) => {
      const isAgain = question !== null && before.question === question;
      const error = isAgain ? before.error : null;
      return { question, answer: isAgain || keep ? before.answer : null, error, isBusy: true };
    });
    try {
      const answer = await work(asked, signal);
      if (latest.current !== own) return null;
      setState({ question, answer, error: null, isBusy: false });
      return answer;
    } catch (error) {
      if (latest.current === own) setState((before) => ({ ...before, error, isBusy: false }));
      return null;
    }
  };

  const drop = (): void => {
    latest.current = null;
  };

  useEffect(() => {
    if (question === null) return;
    const controller = new AbortController();
    let timer: number | undefined;
    const askAfter = (wait: number): void => {
      timer = window.setTimeout(() => void askNow(), wait);
    };
    const askNow = async (): Promise<void> => {
      await send(question, controller.signal);
      if (every !== undefined && !controller.signal.aborted) askAfter(every);
    };
    if (delay > 0) askAfter(delay);
    else void askNow();
    return () => {
      clearTimeout(timer);
      drop();
      controller.abort();
    };
  }, [question, every]);
  useEffect(() => drop, []);

  // between a change of the question and its answer, `state` belongs to the former question
  const isCurrent = state.question === question;
  const isKept = keep && question !== null;
  return {
    answer: isCurrent || isKept ? state.answer : null,
    error: isCurrent ? state.error : null,
    isBusy: isCurrent ? state.isBusy : question !== null,
    ask: (asked) => send(asked),
    clear: () => {
      drop();
      setState(NOTHING);
    },
  };
}
