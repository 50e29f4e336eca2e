/** What people write about a run in the studio: a note, and whether lists leave it out. A small file in the run's folder. */
import path from 'node:path';
import { z } from 'zod';
import { DataError } from '../errors.js';
import { writeFileWhole } from '../files/atomic-file.js';
import { readTextIfThere } from '../files/guarded.js';
import { NOTE_LIMIT } from '../plain/limits.js';
import { issueLines, messageOf, printable } from '../plain/printable.js';

export interface RunNote {
  text: string;
  /** Lists of runs leave it out unless they are asked for all. */
  isHidden: boolean;
}

/** Bytes of the file: a character of the note has at most six in JSON. */
const NOTE_BYTES = 6 * NOTE_LIMIT + 1024;

const noteSchema = z.object({ text: z.string().max(NOTE_LIMIT), isHidden: z.boolean() });

export const notePath = (run: string): string => path.join(run, 'note.json');

/** A run without a note has an empty one. @throws DataError when it is damaged or can't be opened. */
export function readRunNote(run: string): RunNote {
  const file = notePath(run);
  const text = readTextIfThere(file, { within: run, maxBytes: NOTE_BYTES });
  if (text === null) return { text: '', isHidden: false };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new DataError(`${printable(file)} is not JSON: ${messageOf(error)}`, { cause: error });
  }
  const parsed = noteSchema.safeParse(value);
  if (!parsed.success) throw new DataError(`${printable(file)} is damaged:\n${issueLines(parsed.error)}`);
  return parsed.data;
}

/**
 * Changes a part of what was written about a run; the rest stays.
 * @throws DataError when what is there is damaged, which is then left as it is, or when it can't be written.
 */
export function changeRunNote(run: string, change: Partial<RunNote>): void {
  const note: RunNote = { ...readRunNote(run), ...change };
  writeFileWhole(notePath(run), `${JSON.stringify(note)}\n`, { within: run });
}
