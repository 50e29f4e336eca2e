/**
 * Reads lines of metrics.jsonl fast: JSON.parse on a million of them takes three times as long as a page may take to open.
 * The lines that training writes are flat objects of numbers whose keys come in one order; those are read byte by byte
 * here, and every other line (evaluations, damaged ones) goes through JSON.parse.
 */

/** What a line was. */
export type Line =
  /** Numbers by column, in `LineParser.values`. */
  | { kind: 'step' }
  /** Something else about a step: scores of an evaluation. */
  | { kind: 'other'; value: Record<string, unknown> }
  | { kind: 'bad' };

const STEP: Line = { kind: 'step' };
const BAD: Line = { kind: 'bad' };

/** More columns than training has: a file of something else must not fill the memory. */
export const COLUMNS_LIMIT = 64;

const [QUOTE, COMMA, COLON, OPEN, CLOSE] = [0x22, 0x2c, 0x3a, 0x7b, 0x7d];
const [MINUS, PLUS, DOT, ZERO, NINE, LOWER_E, UPPER_E] = [0x2d, 0x2b, 0x2e, 0x30, 0x39, 0x65, 0x45];
/** Further digits are ignored: they change nothing that a curve shows, and up to here a double is exact. */
const EXACT = 1e14;
const POWERS = Array.from({ length: 309 }, (_, n) => Number(`1e${n}`));

const scaled = (mantissa: number, exponent: number): number => {
  if (exponent === 0) return mantissa;
  const power = POWERS[Math.abs(exponent)] ?? Infinity;
  return exponent < 0 ? mantissa / power : mantissa * power;
};

export class LineParser {
  /** Names of the columns met so far. */
  readonly columns: string[] = [];
  /** The values of the last `step` line by column; NaN where it had none. */
  values = new Float64Array(COLUMNS_LIMIT);
  /** `step` of the last line, whatever its kind. */
  step = 0;
  readonly #index = new Map<string, number>();
  /** Keys of the last line in their order, as bytes. */
  #expected: { bytes: Uint8Array; column: number }[] = [];
  #at = 0;
  #number = 0;

  /** Reads the line in bytes[start, end), without its newline. */
  parse(bytes: Uint8Array, start: number, end: number): Line {
    const known = this.columns.length;
    if (this.#fast(bytes, start, end)) return STEP;
    this.#forget(known);
    return this.#slow(bytes, start, end);
  }

  /** Drops the columns after the first `known`: they were met in a line that turned out to be no step's. */
  #forget(known: number): void {
    for (const name of this.columns.splice(known)) this.#index.delete(name);
    if (this.#expected.some(({ column }) => column >= known)) this.#expected = [];
  }

  #fast(bytes: Uint8Array, start: number, end: number): boolean {
    const { values } = this;
    values.fill(NaN, 0, this.columns.length);
    let step = NaN;
    if (bytes[start] !== OPEN) return false;
    let at = start + 1;
    for (let key = 0; ; key++) {
      if (bytes[at] !== QUOTE) return false;
      const keyStart = ++at;
      let column = -2;
      const expected = this.#expected[key];
      if (expected !== undefined) {
        const { bytes: name } = expected;
        let same = 0;
        while (same < name.length && bytes[at + same] === name[same]) same++;
        if (same === name.length && bytes[at + same] === QUOTE) {
          column = expected.column;
          at += same;
        }
      }
      if (column === -2) {
        while (at < end && bytes[at] !== QUOTE) at++;
        const name = bytes.slice(keyStart, at);
        column = this.#columnOf(Buffer.from(name).toString('utf8'));
        this.#expected[key] = { bytes: name, column };
      }
      if (bytes[++at] !== COLON) return false;
      this.#at = at + 1;
      if (!this.#readNumber(bytes, end)) return false;
      at = this.#at;
      if (column === -1) step = this.#number;
      else if (column >= 0) values[column] = this.#number;
      const next = bytes[at++];
      if (next === COMMA) continue;
      if (next !== CLOSE || at !== end || Number.isNaN(step)) return false;
      this.step = step;
      return true;
    }
  }

  /** A number, or null (a value that was not finite), at #at. */
  #readNumber(bytes: Uint8Array, end: number): boolean {
    let at = this.#at;
    if (bytes[at] === 0x6e && bytes[at + 1] === 0x75 && bytes[at + 2] === 0x6c && bytes[at + 3] === 0x6c) {
      this.#number = NaN;
      this.#at = at + 4;
      return true;
    }
    const isNegative = bytes[at] === MINUS;
    if (isNegative) at++;
    // Every loop ends at the line's end: the byte there is not a digit.
    let mantissa = 0;
    let exponent = 0;
    const first = at;
    let byte = bytes[at]!;
    while (byte >= ZERO && byte <= NINE) {
      if (mantissa < EXACT) mantissa = mantissa * 10 + (byte - ZERO);
      else exponent++;
      byte = bytes[++at]!;
    }
    if (at === first) return false;
    if (byte === DOT) {
      const point = ++at;
      byte = bytes[at]!;
      while (byte >= ZERO && byte <= NINE && mantissa < EXACT) {
        mantissa = mantissa * 10 + (byte - ZERO);
        byte = bytes[++at]!;
      }
      exponent -= at - point;
      while (byte >= ZERO && byte <= NINE) byte = bytes[++at]!;
    }
    if (byte === LOWER_E || byte === UPPER_E) {
      byte = bytes[++at]!;
      const isDown = byte === MINUS;
      if (isDown || byte === PLUS) byte = bytes[++at]!;
      let power = 0;
      for (; byte >= ZERO && byte <= NINE; byte = bytes[++at]!) power = power * 10 + (byte - ZERO);
      exponent += isDown ? -power : power;
    }
    if (at > end) return false;
    const size = scaled(mantissa, exponent);
    this.#number = isNegative ? -size : size;
    this.#at = at;
    return true;
  }

  #slow(bytes: Uint8Array, start: number, end: number): Line {
    let value: unknown;
    try {
      value = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString('utf8'));
    } catch {
      return BAD;
    }
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return BAD;
    const line = value as Record<string, unknown>;
    const step = line['step'];
    if (typeof step !== 'number' || !Number.isFinite(step)) return BAD;
    this.step = step;
    if (typeof line['loss'] !== 'number' && line['loss'] !== null) return { kind: 'other', value: line };
    this.values.fill(NaN, 0, this.columns.length);
    for (const [name, entry] of Object.entries(line)) {
      if (typeof entry !== 'number') continue;
      const column = this.#columnOf(name);
      if (column >= 0) this.values[column] = entry;
    }
    return STEP;
  }

  /** -1 is the step itself; -3 one column too many. */
  #columnOf(name: string): number {
    if (name === 'step') return -1;
    const known = this.#index.get(name);
    if (known !== undefined) return known;
    if (this.columns.length === COLUMNS_LIMIT) return -3;
    const column = this.columns.length;
    this.columns.push(name);
    this.#index.set(name, column);
    this.values[column] = NaN;
    return column;
  }
}
