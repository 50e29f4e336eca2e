/** What the parts of Find share: asking an index, what is chosen of it, and fields of forms. */
import { type FindAnswer, type FindAsk, request, RequestError } from '../api.ts';

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

/** `list.txt` becomes `list-2.txt`, and that `list-3.txt`. */
export function nextName(name: string): string {
  const [, stem = '', number, ending = ''] = /^(.*?)(?:-(\d{1,6}))?(\.[^./\\]*)?$/s.exec(name) ?? [];
  return `${stem}-${number === undefined ? 2 : Number(number) + 1}${ending}`;
}

/** What a form does with a failure: of a name that is taken it offers another in that field. */
export const offerAnother =
  (form: HTMLFormElement, field: string, failed: (error: unknown) => void) =>
  (error: unknown): void => {
    const input = form.elements.namedItem(field) as HTMLInputElement;
    if (error instanceof RequestError && error.code === 'TAKEN') input.value = nextName(input.value);
    failed(error);
  };
