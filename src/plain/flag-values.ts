/** How the text of a flag becomes a value of a zod schema: the schema tells what kind of text to expect. */
import { z } from 'zod';

/**
 * number: a number, or a word that the schema takes too; list: several numbers, apart by spaces or commas; words: several
 * words, apart by line ends.
 */
export type FlagKind = 'number' | 'boolean' | 'text' | 'list' | 'words';

/** The schema of what is typed: without what makes it optional, gives it a default or transforms it. */
export function innermost(schema: z.ZodType): z.ZodType {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodDefault)
    return innermost(schema.unwrap() as z.ZodType);
  return schema instanceof z.ZodPipe ? innermost(schema.in as z.ZodType) : schema;
}

const isNumber = (schema: unknown): boolean => schema instanceof z.ZodNumber || schema instanceof z.ZodUnion;

export function flagKind(schema: z.ZodType): FlagKind {
  const inner = innermost(schema);
  if (inner instanceof z.ZodTuple) return 'list';
  if (inner instanceof z.ZodArray) return isNumber(inner.element) ? 'list' : 'words';
  if (inner instanceof z.ZodBoolean) return 'boolean';
  return isNumber(inner) ? 'number' : 'text';
}

function numberOf(text: string): unknown {
  const value = Number(text);
  return text.trim() === '' || Number.isNaN(value) ? text : value;
}

/** The words that the reference's utils.bool_flag takes. */
const TRUE = ['true', 'on', '1', 'yes'];
const FALSE = ['false', 'off', '0', 'no'];

/**
 * The value of a flag as typed: "5e-4", "true", ["0.4", "1"] or "0.4,1", words apart by line ends. What can't be read stays
 * a string, for the schema to refuse; what is not text is returned as it is.
 */
export function readFlagValue(schema: z.ZodType, raw: unknown): unknown {
  const kind = flagKind(schema);
  const parts = (Array.isArray(raw) ? raw : [raw]).map(String);
  if (kind === 'words') return parts.flatMap((part) => part.split('\n'));
  if (kind === 'list')
    return parts
      .flatMap((part) => part.split(/[\s,]+/))
      .filter(Boolean)
      .map(numberOf);
  if (typeof raw !== 'string') return raw;
  if (kind === 'boolean') {
    const lower = raw.toLowerCase();
    return TRUE.includes(lower) ? true : FALSE.includes(lower) ? false : raw;
  }
  return kind === 'number' ? numberOf(raw) : raw;
}
