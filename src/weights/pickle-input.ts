/** The bytes of a pickle, read from front to end: the operands that follow its opcodes. */
import { plain } from './pickle-text.js';
import { show } from './pickle-values.js';

/** The most digits of a whole number written as text, and bytes of one written as bytes. */
const MAX_DIGITS = 1000;

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
/** For text that does not matter: what is not UTF-8 becomes U+FFFD. */
const lenientUtf8 = new TextDecoder('utf-8', { ignoreBOM: true });

/** Every method throws what `refuse` throws when the bytes end too early, or are not of the expected kind. */
export class PickleInput {
  position: number;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #refuse: (what: string) => never;
  readonly #isLenient: boolean;

  /** @param isLenient - Whether text that is not UTF-8 is read all the same. */
  constructor(bytes: Uint8Array, start: number, refuse: (what: string) => never, isLenient: boolean) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.position = start;
    this.#refuse = refuse;
    this.#isLenient = isLenient;
  }

  #take(count: number): number {
    const at = this.position;
    if (count > this.#bytes.length - at)
      this.#refuse(`an opcode that needs ${count} bytes where ${this.#bytes.length - at} are left`);
    this.position = at + count;
    return at;
  }

  byte(): number {
    return this.#view.getUint8(this.#take(1));
  }
  float64(): number {
    return this.#view.getFloat64(this.#take(8), false);
  }
  uint16(): number {
    return this.#view.getUint16(this.#take(2), true);
  }
  uint32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }
  int32(): number {
    return this.#view.getInt32(this.#take(4), true);
  }
  length64(): number {
    const length = this.#view.getBigUint64(this.#take(8), true);
    if (length > BigInt(this.#bytes.length)) this.#refuse(`a length of ${length} bytes`);
    return Number(length);
  }

  #slice(length: number): Uint8Array {
    if (length < 0) this.#refuse(`a length of ${length} bytes`);
    const at = this.#take(length);
    return this.#bytes.subarray(at, at + length);
  }

  /** A copy, which outlives the file's bytes. */
  copy(length: number): Uint8Array {
    return this.#slice(length).slice();
  }

  text(length: number): string {
    const slice = this.#slice(length);
    try {
      return utf8.decode(slice);
    } catch {
      // Python writes lone surrogates, which are not UTF-8, for names of files that are not UTF-8 either
      return this.#isLenient ? lenientUtf8.decode(slice) : this.#refuse('text that is not UTF-8');
    }
  }

  latin1(length: number): string {
    const slice = this.#slice(length);
    return Buffer.from(slice.buffer, slice.byteOffset, slice.byteLength).toString('latin1');
  }

  line(): string {
    const end = this.#bytes.indexOf(10, this.position);
    if (end === -1) this.#refuse('a line without an end');
    const line = this.latin1(end - this.position);
    this.position++; // the newline
    return line.endsWith('\r') ? line.slice(0, -1) : line;
  }

  /** A line's value; null from `parse` refuses it. */
  parsed<T>(line: string, parse: (line: string) => T | null, what: string): T {
    return parse(line) ?? this.#refuse(`${what} ${show(line)}`);
  }

  number(text: string): number | bigint {
    if (text.length > MAX_DIGITS || !/^[-+]?\d+$/.test(text)) this.#refuse(`a number ${show(text)}`);
    return plain(BigInt(text.replace('+', '')));
  }

  /** A little-endian number in two's complement. */
  long(length: number): number | bigint {
    if (length < 0 || length > MAX_DIGITS) this.#refuse(`a number of ${length} bytes`);
    const bytes = this.#slice(length);
    let value = 0n;
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i] as number);
    if (length > 0 && (bytes[length - 1] as number) > 127) value -= 1n << BigInt(8 * length);
    return plain(value);
  }
}
