/** Which image is looked at, as the address says it: one of the gallery by its name, or one that was given in this visit. */
import { addressWith, navigate, route } from '../../src/router.ts';
import { wordsOf } from '../../src/errors.ts';
import { useAnswer } from '../../src/use-answer.ts';
import type { Gallery } from './gallery.tsx';
import { load } from './load.ts';

export interface Chosen {
  image: Blob;
  /** Of the image, for the page's own use. */
  address: string;
  name: string;
  /** In the gallery; null for one that was given. */
  row: number | null;
  /** Only a small picture of it was exported. */
  isSmall: boolean;
}

/** An error of an image, which names it. */
export const named = (name: string, error: unknown): Error => new Error(`${name}: ${wordsOf(error)}`);

/** What was given in this visit: nothing is kept. */
const given = new Map<string, File>();
const GIVEN = /^given:(\d+)$/;

/** Goes to an image, which Back leaves again. A pinned patch is one of the image before. */
const go = (image: string): void => navigate(addressWith({ image, patch: null }));

export function chooseFile(file: File): void {
  const id = String(given.size + 1);
  given.set(id, file);
  go(`given:${id}`);
}

export const chooseRow = (gallery: Gallery, row: number): void => go(gallery.nameOf(row));

type Wanted = { file: File } | { row: number } | 'gone' | null;

/** What the address asks for; without a choice, the first sample. */
function wantedOf(text: string | null, gallery: Gallery | null): Wanted {
  if (text === null) {
    const first = gallery?.samples[0];
    return first === undefined ? null : { row: first };
  }
  const id = GIVEN.exec(text)?.[1];
  const file = id === undefined ? undefined : given.get(id);
  if (file !== undefined) return { file };
  if (gallery === null) return id === undefined ? null : 'gone';
  const row = gallery.rowOf(text);
  return row === null ? 'gone' : { row };
}

async function chosenOf(wanted: { file: File } | { row: number }, gallery: Gallery | null): Promise<Chosen> {
  if ('file' in wanted) {
    const { file } = wanted;
    const name = file.name || 'pasted image';
    return { image: file, address: URL.createObjectURL(file), name, row: null, isSmall: false };
  }
  const { row } = wanted;
  const { name, picture, thumbnail } = gallery!.images[row]!;
  const file = picture ?? thumbnail;
  const image = await load(file, (response) => response.blob()).catch((error: unknown) => {
    throw named(name, error);
  });
  return { image, address: new URL(file, document.baseURI).href, name, row, isSmall: picture === null };
}

const asked = new Map<string, { wanted: { file: File } | { row: number } }>();

/** @returns The image, once it has come, until then the one before; `isGone` when the address names one that is not here (any more). */
export function useChosen(gallery: Gallery | null): {
  chosen: Chosen | null;
  error: unknown;
  isBusy: boolean;
  isGone: boolean;
} {
  const text = route.value.query.get('image');
  const wanted = wantedOf(text, gallery);
  // one object for each choice: an image is loaded once, however often the page is drawn
  let question: { wanted: { file: File } | { row: number } } | null = null;
  if (wanted !== null && wanted !== 'gone') {
    const key = text ?? '';
    question = asked.get(key) ?? { wanted };
    asked.set(key, question);
  }
  const { answer, error, isBusy } = useAnswer(({ wanted: one }) => chosenOf(one, gallery), question, {
    keep: true,
  });
  return { chosen: answer, error, isBusy, isGone: wanted === 'gone' };
}
