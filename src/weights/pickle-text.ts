/** Values that pickles write as text, and names of values for errors. */
import { PickleGlobal, PickleOpaque, show } from './pickle-values.js';

const SPECIAL = new Map([
  ['inf', Infinity],
  ['-inf', -Infinity],
  ['nan', NaN],
]);

/** Python's repr of a float; null for other text. */
export function parseFloatLine(text: string): number | null {
  const special = SPECIAL.get(text);
  if (special !== undefined) return special;
  if (text.length > 100 || !/^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$/.test(text)) return null;
  return Number(text);
}

/** The text of Python's repr of a byte string; null for other text. */
export function unquote(line: string): string | null {
  const quote = line[0];
  if (line.length < 2 || (quote !== "'" && quote !== '"') || !line.endsWith(quote)) return null;
  const simple: Record<string, string> = { n: '\n', t: '\t', r: '\r', '\\': '\\', "'": "'", '"': '"' };
  return line.slice(1, -1).replace(/\\(x[0-9a-fA-F]{2}|[\s\S])/g, (whole, code: string) => {
    if (code.length === 3) return String.fromCharCode(Number.parseInt(code.slice(1), 16));
    return simple[code] ?? whole;
  });
}

/** A number, or a bigint beyond 2^53. */
export const plain = (value: bigint): number | bigint =>
  value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value;

/** Python's raw-unicode-escape. */
export const unescapeUnicode = (line: string): string =>
  line.replace(/\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))/g, (whole, short?: string, long?: string) => {
    const point = Number.parseInt(short ?? long ?? '', 16);
    return point <= 0x10ffff ? String.fromCodePoint(point) : whole;
  });

/** The class that would be instantiated. */
export const classNameOf = (callee: unknown): string =>
  callee instanceof PickleGlobal || callee instanceof PickleOpaque ? callee.name : 'an unnamed class';

/** What a value is, for errors. */
export function kindOf(value: unknown): string {
  if (value === null) return 'None';
  if (typeof value !== 'object')
    return { string: 'text', boolean: 'a boolean' }[typeof value as string] ?? 'a number';
  if (value instanceof PickleGlobal) return show(value.name);
  if (Array.isArray(value)) return Object.isFrozen(value) ? 'a tuple' : 'a list';
  if (value instanceof Map) return 'a dict';
  if (value instanceof Set) return 'a set';
  return value instanceof Uint8Array ? 'bytes' : `a ${value.constructor.name}`;
}
