/** What the parts of Find share: asking an index, what is chosen of it, and fields of forms. */
import { type FindAnswer, type FindAsk, request } from '../api.ts';

export const ask = async (index: string, question: FindAsk): Promise<FindAnswer> =>
  request('POST /api/find/ask', { body: { index, ask: question } });

/** Shows an answer when it comes, under a title. */
export type Show = (title: string, answer: Promise<FindAnswer>) => void;

/** Rows of the index. */
export interface Chosen {
  plus: ReadonlySet<number>;
  minus: ReadonlySet<number>;
  selected: ReadonlySet<number>;
}

/** A text field of a form. */
export function textOf(form: HTMLFormElement, name: string): string {
  const value = new FormData(form).get(name);
  return typeof value === 'string' ? value : '';
}

/** A number field of a form. */
export const numberOf = (form: HTMLFormElement, name: string): number => Number(textOf(form, name));
