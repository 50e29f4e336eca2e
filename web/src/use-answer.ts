/**
 * What a component asks of something that takes time: the answer, the error, and whether it is still awaited, handled in
 * one way. Answers that nobody waits for any more are dropped. Requests to the server go through use-request.ts.
 */
import { useEffect, useRef, useState } from 'preact/hooks';

export interface AnswerOptions {
  /** The last answer stays until the next one comes, past errors too. Otherwise it goes as soon as something else is asked. */
  keep?: boolean;
  /** Milliseconds that a question must rest before it is asked: for one that changes while a slider is dragged. */
  delay?: number;
  /** Milliseconds after an answer or an error when the same is asked again. */
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
   * Asks at once. What was asked before is carried on, since it may change something, but its answer is dropped.
   * @returns The answer; null when it failed (`error` tells why) or is not wanted any more.
   */
  ask: (question: Q) => Promise<T | null>;
  /** Forgets the answer and the error, and drops the answer that is awaited. */
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
 * Asks `question` whenever it is another one (by `===`), and aborts what was asked before; null asks nothing. A component
 * that asks when a button is pressed leaves `question` out and calls `ask()`.
 */
export function useAnswer<Q, T>(
  work: (question: Q, signal?: AbortSignal) => Promise<T>,
  question: Q | null = null,
  { keep = false, delay = 0, every }: AnswerOptions = {},
): Answer<Q, T> {
  const [state, setState] = useState<State<Q, T>>(NOTHING);
  /** Stands for what was asked last: answers to anything else are dropped. */
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

  // between a change of the question and its answer, `state` is of the former question
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
