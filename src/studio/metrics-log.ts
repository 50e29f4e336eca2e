/**
 * A metrics.jsonl as curves: read once from front to end, then only what was appended. Ten million lines are three
 * gigabytes, so the values aren't kept: of every block of 16 lines there are the least, greatest and summed value of each
 * column and the place in the file, 7 bytes a line. From a distance a curve is drawn from blocks, exact in its extremes;
 * from near by, the lines themselves are read again.
 *
 * The file may be cut and replaced (a resumed run drops the lines after its checkpoint), end in half a line, hold damaged
 * ones, or vanish.
 */
import { stat, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { CollapseMonitor, type Verdict } from '../dino/collapse-monitor.js';
import { openHandle } from '../files/guarded.js';
import { LOG_BYTES } from '../files/json-lines.js';
import { COLUMNS_LIMIT, type Line, LineParser } from './line-parser.js';

/** Lines of a block. */
export const BLOCK = 16;
const CHUNK = 2 ** 21;
/** A line of step metrics has about 300 bytes; a file without a newline in this many is not a log. */
const LINE_LIMIT = CHUNK / 2;
/** The most new lines that are sent one by one. */
const FRESH = 64;
/** Evaluations are kept whole. */
const EVALUATIONS_LIMIT = 10_000;

/** A typed array that grows. */
class GrowingArray<T extends Float32Array | Float64Array> {
  constructor(public data: T) {}

  set(index: number, value: number): void {
    if (index >= this.data.length) {
      const larger = new (this.data.constructor as new (length: number) => T)(2 * index + 64).fill(NaN) as T;
      larger.set(this.data);
      this.data = larger;
    }
    this.data[index] = value;
  }
}

const floats = (): GrowingArray<Float32Array> => new GrowingArray(new Float32Array(256).fill(NaN));
const doubles = (): GrowingArray<Float64Array> => new GrowingArray(new Float64Array(256).fill(NaN));

/** One column, block by block. */
export class Column {
  readonly min = floats();
  readonly max = floats();
  readonly sum = floats();
  /** Lines of the block that had a value. */
  readonly count = floats();

  add(block: number, value: number): void {
    if (Number.isNaN(value)) return;
    const count = this.count.data[block];
    if (count === undefined || Number.isNaN(count)) {
      this.min.set(block, value);
      this.max.set(block, value);
      this.sum.set(block, value);
      this.count.set(block, 1);
      return;
    }
    if (value < this.min.data[block]!) this.min.data[block] = value;
    if (value > this.max.data[block]!) this.max.data[block] = value;
    this.sum.data[block]! += value;
    this.count.data[block] = count + 1;
  }
}

export interface MetricsLogOptions {
  /** Images in a step, by which images a second become seconds; null while not known. */
  imagesPerStep: number | null;
  /** K and patience of the collapse monitor; null while not known. */
  monitor: { outDim: number; patience: number } | null;
}

/** An evaluation during training, as its line has it. */
export interface EvaluationLine {
  step: number;
  values: Record<string, unknown>;
}

/** One step's line. */
export interface LinePoint {
  step: number;
  /** Time spent training up to here, seconds. */
  seconds: number;
  /** By column. */
  values: Float64Array;
}

export class MetricsLog {
  /** Grows when the file was cut or replaced, or the settings were. */
  generation = 0;
  /** Bytes read so far, and in the file. */
  position = 0;
  size = 0;
  /** Lines of steps. */
  lines = 0;
  /** Lines that could not be read, and which was the first (from 1). */
  bad = 0;
  firstBad: number | null = null;
  evaluations: EvaluationLine[] = [];
  /** What the last reading added; null when that were many lines. */
  fresh: LinePoint[] | null = null;
  /** The newest line of a step, and its values by column. */
  lastStep: number | null = null;
  readonly #lastValues = new Float64Array(COLUMNS_LIMIT).fill(NaN);
  /** Why the file can't be read. */
  problem: string | null = null;
  /** By column of the parser. */
  columns: Column[] = [];
  /** Of each block's first line: byte where it begins, step, and seconds of training up to it. */
  offsets = doubles();
  steps = doubles();
  seconds = doubles();
  #parser = new LineParser();
  #monitor: CollapseMonitor | null = null;
  #inode = -1;
  #fileLines = 0;
  #elapsed = 0;
  #speed = -1;
  #loss = -1;
  #entropy = -1;
  #kl = -1;
  #isSkipping = false;
  /** What readBlocks read last, of whole blocks; `mark` says of which file, columns and beginning. */
  #kept: { mark: string; points: readonly LinePoint[] } | null = null;
  readonly #buffer = Buffer.alloc(CHUNK);

  constructor(
    readonly file: string,
    private options: MetricsLogOptions,
  ) {
    this.#reset();
  }

  get names(): readonly string[] {
    return this.#parser.columns;
  }

  get blocks(): number {
    return Math.ceil(this.lines / BLOCK);
  }

  get elapsed(): number {
    return this.#elapsed;
  }

  #reset(): void {
    const { monitor } = this.options;
    this.generation++;
    this.position = this.size = this.lines = this.bad = this.#fileLines = this.#elapsed = 0;
    this.firstBad = this.lastStep = null;
    this.evaluations = [];
    this.fresh = null;
    this.columns = [];
    this.offsets = doubles();
    this.steps = doubles();
    this.seconds = doubles();
    this.#parser = new LineParser();
    this.#speed = this.#loss = this.#entropy = this.#kl = -1;
    this.#isSkipping = false;
    this.#monitor = monitor === null ? null : new CollapseMonitor(monitor);
  }

  /** A link in a run's folder is not followed: it may lead anywhere. */
  #open(): Promise<FileHandle> {
    return openHandle(this.file, { within: path.dirname(this.file), maxBytes: LOG_BYTES });
  }

  /** Discards what was read: the seconds and the verdict depend on the settings. */
  restart(options: MetricsLogOptions): void {
    this.options = options;
    this.#reset();
  }

  /**
   * Reads what was appended. Yields to other work after each chunk.
   * @param onChunk - Called after each but the last.
   * @returns Whether anything has changed.
   */
  async advance(onChunk?: () => void): Promise<boolean> {
    let handle: FileHandle;
    try {
      const { ino, size } = await stat(this.file);
      const isOther = ino !== this.#inode || size < this.position;
      if (!isOther && size === this.position && this.problem === null) return false;
      if (isOther && this.#inode !== -1) this.#reset();
      this.#inode = ino;
      handle = await this.#open();
    } catch (error) {
      const isNew = this.problem === null;
      const { code, message } = error as NodeJS.ErrnoException;
      this.problem = code === 'ENOENT' ? `${this.file} is not there (any more).` : message;
      return isNew;
    }
    this.problem = null;
    this.fresh = [];
    const before = `${this.generation} ${this.position}`;
    try {
      this.size = (await handle.stat()).size;
      for (;;) {
        const { generation } = this;
        const { bytesRead } = await handle.read(this.#buffer, 0, CHUNK, this.position);
        if (generation !== this.generation) continue; // restarted meanwhile
        if (bytesRead === 0) break;
        const used = this.#take(this.#buffer, bytesRead);
        if (used === 0) break; // half a line: its rest is not written yet
        this.position += used;
        this.size = Math.max(this.size, this.position);
        if (this.position < this.size) onChunk?.();
      }
    } catch (error) {
      this.problem = (error as Error).message;
      return true;
    } finally {
      await handle.close();
    }
    return before !== `${this.generation} ${this.position}`;
  }

  /** Reads the whole lines of a chunk. @returns Bytes used. */
  #take(bytes: Uint8Array, length: number): number {
    let start = 0;
    for (;;) {
      const end = bytes.indexOf(0x0a, start);
      if (end === -1 || end >= length) break;
      if (this.#isSkipping) this.#isSkipping = false;
      else if (end > start) this.#line(bytes, start, end);
      start = end + 1;
    }
    if (start === 0 && length >= LINE_LIMIT) {
      if (!this.#isSkipping) this.#countBad();
      this.#isSkipping = true;
      return length;
    }
    return start;
  }

  #countBad(): void {
    this.bad++;
    this.firstBad ??= this.#fileLines + 1;
  }

  #line(bytes: Uint8Array, start: number, end: number): void {
    const line = this.#parser.parse(bytes, start, end);
    if (line.kind === 'other') this.#evaluation(line);
    // a step that is not after the one before doesn't belong to this training: x must grow
    else if (line.kind === 'bad' || (this.lastStep !== null && this.#parser.step <= this.lastStep))
      this.#countBad();
    else this.#step(this.position + start);
    this.#fileLines++;
  }

  #evaluation(line: Extract<Line, { kind: 'other' }>): void {
    if (this.evaluations.length < EVALUATIONS_LIMIT)
      this.evaluations.push({ step: this.#parser.step, values: line.value });
  }

  #step(offset: number): void {
    const { columns: names, step, values } = this.#parser;
    for (let column = this.columns.length; column < names.length; column++) {
      this.columns.push(new Column());
      const name = names[column];
      if (name === 'imagesPerSecond') this.#speed = column;
      else if (name === 'loss') this.#loss = column;
      else if (name === 'teacherEntropy') this.#entropy = column;
      else if (name === 'kl') this.#kl = column;
    }
    const block = Math.floor(this.lines / BLOCK);
    this.#elapsed += this.secondsOf(step - (this.lastStep ?? 0), values[this.#speed]);
    if (this.lines % BLOCK === 0) {
      this.offsets.set(block, offset);
      this.steps.set(block, step);
      this.seconds.set(block, this.#elapsed);
    }
    for (let column = 0; column < names.length; column++) this.columns[column]!.add(block, values[column]!);
    this.lines++;
    this.lastStep = step;
    this.#lastValues.set(values.subarray(0, names.length));
    if (this.fresh?.length === FRESH) this.fresh = null;
    this.fresh?.push({ step, seconds: this.#elapsed, values: values.slice(0, names.length) });
    this.#observe(step, values);
  }

  /** Time of some steps at a speed. */
  secondsOf(steps: number, imagesPerSecond: number | undefined): number {
    const { imagesPerStep } = this.options;
    const seconds = imagesPerStep === null ? NaN : (steps * imagesPerStep) / (imagesPerSecond ?? NaN);
    return Number.isFinite(seconds) ? seconds : 0;
  }

  #observe(step: number, values: Float64Array): void {
    const [loss, entropy, kl] = [values[this.#loss], values[this.#entropy], values[this.#kl]];
    if (this.#monitor === null || loss === undefined || entropy === undefined || kl === undefined) return;
    this.#monitor.observe(step, loss, { entropy, kl });
  }

  /** The state of the training; null when K is not known. */
  verdict(): Verdict | null {
    return this.#monitor?.verdict() ?? null;
  }

  /** The newest line, its values by name. */
  last(): { step: number; values: Record<string, number> } | null {
    if (this.lastStep === null) return null;
    return { step: this.lastStep, values: this.named(this.#lastValues) };
  }

  /** A line's values by name, of the columns that it had. */
  named(values: Float64Array): Record<string, number> {
    const pairs = this.names.flatMap((name, i): [string, number][] => {
      const value = values[i] ?? NaN;
      return Number.isNaN(value) ? [] : [[name, value]];
    });
    return Object.fromEntries(pairs);
  }

  /**
   * The lines of blocks [from, to), read again from the file. A curve that grows is asked for with every line: whole blocks
   * are kept until others are asked for, and then only what follows them is read.
   * @throws Error when the file has changed meanwhile.
   */
  async readBlocks(from: number, to: number): Promise<readonly LinePoint[]> {
    const mark = `${this.generation} ${this.names.length} ${from}`;
    const kept: readonly LinePoint[] = this.#kept?.mark === mark ? this.#kept.points : [];
    const wanted = Math.min(this.lines, to * BLOCK) - from * BLOCK;
    if (kept.length >= wanted) return kept.slice(0, wanted);
    const points = kept.concat(await this.#readLines(from + kept.length / BLOCK, to));
    const whole = points.slice(0, points.length - (points.length % BLOCK));
    this.#kept = { mark, points: whole };
    return points;
  }

  async #readLines(from: number, to: number): Promise<LinePoint[]> {
    const start = this.offsets.data[from] ?? 0;
    const end = to >= this.blocks ? this.position : this.offsets.data[to]!;
    const bytes = Buffer.alloc(end - start);
    const handle = await this.#open();
    try {
      const { ino } = await handle.stat();
      const { bytesRead } = await handle.read(bytes, 0, bytes.length, start);
      if (ino !== this.#inode || bytesRead < bytes.length)
        throw new Error(`${this.file} has just been replaced.`);
    } finally {
      await handle.close();
    }
    const parser = new LineParser();
    const points: LinePoint[] = [];
    let seconds = this.seconds.data[from] ?? 0;
    let last: number | null = null;
    const order = (): number[] => this.names.map((name) => parser.columns.indexOf(name));
    for (let at = 0; at < bytes.length;) {
      const newline = bytes.indexOf(0x0a, at);
      const stop = newline === -1 ? bytes.length : newline;
      if (stop > at && parser.parse(bytes, at, stop).kind === 'step' && parser.step > (last ?? -1)) {
        const places = order();
        const values = Float64Array.from(places, (place) => (place === -1 ? NaN : parser.values[place]!));
        seconds += this.secondsOf(last === null ? 0 : parser.step - last, values[this.#speed]);
        last = parser.step;
        points.push({ step: parser.step, seconds, values });
      }
      at = stop + 1;
    }
    return points;
  }
}
