/** Fields of the forms in Find. */
import { RequestError } from '../errors.ts';

/** A text field of a form. */
export function textOf(form: HTMLFormElement, name: string): string {
  const value = new FormData(form).get(name);
  return typeof value === 'string' ? value : '';
}

/** A number field of a form. */
export const numberOf = (form: HTMLFormElement, name: string): number => Number(textOf(form, name));

/** `list.txt` becomes `list-2.txt`, and that `list-3.txt`. */
function nextName(name: string): string {
  const [, stem = '', number, ending = ''] = /^(.*?)(?:-(\d{1,6}))?(\.[^./\\]*)?$/s.exec(name) ?? [];
  return `${stem}-${number === undefined ? 2 : Number(number) + 1}${ending}`;
}

/** Waits for an answer; when it fails because a name in a form is taken, another is offered in that field. */
export async function offeringAnother<T>(
  form: HTMLFormElement,
  field: string,
  answer: Promise<T>,
): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    const input = form.elements.namedItem(field) as HTMLInputElement;
    if (error instanceof RequestError && error.code === 'TAKEN') input.value = nextName(input.value);
    throw error;
  }
}
