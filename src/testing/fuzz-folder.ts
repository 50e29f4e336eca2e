/**
 * Fuzzes the readers of a folder (a run, an index): files of a good folder are changed, truncated, or replaced by links,
 * FIFOs and huge sparse files, their JSON is made hostile, and all readers of the folder run on it in a separate process.
 * Whatever the input, the output must be a result or an error of this package, in limited time and memory; nothing outside
 * may be read or written.
 *
 * Each mutant depends only on the seed and its number, so that one that failed can be made again.
 */
import { type ChildProcess, execFileSync, fork } from 'node:child_process';
import {
  cpSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { below, choose, generator, type Random } from './random.js';

export interface FolderFuzzOptions {
  /** A good folder; it is copied for each mutant and not changed. */
  folder: string;
  /** The files in it to change, relative to it. */
  files: readonly string[];
  /**
   * A module that exports `read`, a ReadFolder. It is loaded once for many mutants.
   */
  reader: URL;
  /** Corrects checksums and the like after a change, so that the checks behind them are reached. */
  mend?: (folder: string) => void;
  /** Further changes that are specific to this kind of folder. */
  changes?: readonly ((folder: string, random: Random) => void)[];
  count: number;
  seed: number;
  /** An empty folder to work in. */
  scratch: string;
  /** CPU time that one mutant may take, milliseconds; default 10,000. */
  limitMs?: number;
  /** MiB that it may take more than the good folder; default 1,024. */
  limitMiB?: number;
  onFailure?: (failure: string) => void;
}

export interface FolderFuzzResult {
  /** Number of mutants that could be read completely, and of those of which something was refused. */
  read: number;
  refused: number;
  failures: number;
  /** CPU time of the slowest mutant. */
  slowestMs: number;
  /** Peak resident memory above that of the good folder, MiB. */
  peakMiB: number;
  /** How often each error occurred, by the first words of its message. */
  reasons: Map<string, number>;
}

/** One mutant, for the process that reads it (fuzz-reader.ts). */
export interface ToReader {
  folder: string;
  /** Where the readers may write; it need not exist. */
  scratch: string;
}

export interface FromReader {
  /** Messages of errors of this package. */
  errors: string[];
  /** Everything else that was thrown. */
  failures: string[];
  /** Highest resident memory of the process so far, MiB. */
  peakMiB: number;
  /** CPU time that it took, milliseconds, because the machine may be busy with other things. */
  cpuMs: number;
}

/** Every reader of a folder, by name: each runs whatever the others throw. Their results must not contain the secret. */
export type ReadFolder = (
  folder: string,
  scratch: string,
) => readonly (readonly [name: string, read: () => unknown])[];

/** The contents of the file outside: no reader may reveal it. */
export const SECRET = 'hush hush, this is outside';

/** A limit of real time, because a reader that waits forever, for example for a FIFO, uses no CPU time. */
const WAIT_MS = 120_000;

const EXTREMES = [
  ...[0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff],
  ...[2, 3, 16, 255, 256, 4096, 65536, 1_000_000],
];

const INFINITE = /"(\d+)~"/g;

/** Values that no field expects; `~` marks numbers that JavaScript can't write. */
const HOSTILE: readonly ((random: Random) => unknown)[] = [
  () => null,
  () => true,
  () => -1,
  () => 0.5,
  () => 2 ** 31,
  () => 2 ** 32 - 1,
  () => Number.MAX_SAFE_INTEGER,
  () => 1e308,
  () => -1e308,
  () => '1e999~',
  () => '',
  () => 'NaN',
  () => '__proto__',
  () => 'constructor',
  () => 'toString',
  () => '/etc/passwd',
  () => '../../outside/secret',
  () => 'a\0b',
  () => '\u001b]0;title\u0007',
  () => '\ud800',
  () => 'x'.repeat(100_000),
  () => [],
  () => ({}),
  () =>
    JSON.parse('{"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}}}') as unknown,
  () => new Array<number>(100_000).fill(0),
  () => Array.from({ length: 1000 }, (_, i) => `__proto__${i}`),
  (random) => {
    let deep: unknown = 1;
    // JSON.stringify itself fails at a few thousand levels
    for (let i = 0, most = 10 + below(random, 1000); i < most; i++) deep = random() < 0.5 ? [deep] : { deep };
    return deep;
  },
];

/** All places in a JSON value: the containing object and the key. */
function placesOf(value: unknown, found: [Record<string, unknown>, string][] = []): typeof found {
  if (typeof value !== 'object' || value === null || found.length > 1000) return found;
  for (const key of Object.keys(value)) {
    found.push([value as Record<string, unknown>, key]);
    placesOf((value as Record<string, unknown>)[key], found);
  }
  return found;
}

/** Replaces, adds or removes one value in a JSON text; anything else is returned unchanged. */
function hostileJson(text: string, random: Random): string {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return text;
  }
  const places = placesOf(value);
  if (places.length === 0 || random() < 0.03) {
    if (random() < 0.5) return JSON.stringify(choose(random, HOSTILE)(random)).replace(INFINITE, '1e999');
    const depth = 200_000;
    return '['.repeat(depth) + ']'.repeat(random() < 0.5 ? depth : 0);
  }
  const [holder, key] = choose(random, places);
  const define = (name: string, content: unknown): void => {
    Object.defineProperty(holder, name, { value: content, enumerable: true, configurable: true });
  };
  const kind = random();
  if (kind < 0.1) delete holder[key];
  else if (kind < 0.2) define(choose(random, ['__proto__', 'constructor', 'toString', 'more']), holder[key]);
  else if (kind < 0.5 && typeof holder[key] === 'number')
    define(key, holder[key] + choose(random, [-1, 1, -2, 7, 1000]));
  else define(key, choose(random, HOSTILE)(random));
  return JSON.stringify(value).replace(/"1e999~"/g, '1e999');
}

/** Changes JSON in a whole file, in one of its lines, or in a safetensors header. */
function mutateJson(name: string, bytes: Buffer, random: Random): Buffer {
  if (name.endsWith('.safetensors') && bytes.length > 8) {
    const end = 8 + Number(bytes.readBigUInt64LE());
    const header = Buffer.from(hostileJson(bytes.subarray(8, end).toString('utf8'), random));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(header.length));
    return Buffer.concat([length, header, bytes.subarray(end)]);
  }
  const text = bytes.toString('utf8');
  if (!name.endsWith('.jsonl')) return Buffer.from(hostileJson(text, random));
  const lines = text.split('\n');
  const at = below(random, Math.max(1, lines.length - 1));
  lines[at] = hostileJson(lines[at]!, random);
  if (random() < 0.1) lines.push(choose(random, lines), '');
  return Buffer.from(lines.join('\n'));
}

function mutateBytes(bytes: Buffer, other: Buffer, random: Random): Buffer {
  if (bytes.length === 0) return Buffer.from(other);
  const at = below(random, bytes.length);
  const copy = Buffer.from(bytes);
  switch (below(random, 8)) {
    case 0: // a bit
      copy[at]! ^= 1 << below(random, 8);
      return copy;
    case 1: // a byte
      copy[at] = below(random, 256);
      return copy;
    case 2: // a field of two, four or eight bytes, often at an even offset
    case 3: {
      const size = choose(random, [2, 4, 4, 8]);
      const place = random() < 0.5 ? at - (at % 2) : at;
      if (place + size > copy.length) return copy;
      const value = choose(random, EXTREMES);
      if (size === 2) copy.writeUInt16LE(value & 0xffff, place);
      else copy.writeUInt32LE(value, place);
      if (size === 8) copy.writeUInt32LE(choose(random, [0, 0, 1, 0x7fffffff, 0xffffffff]), place + 4);
      return copy;
    }
    case 4: // the end
      return copy.subarray(0, at);
    case 5: {
      // a part repeated, or a part of another file
      const from = random() < 0.5 ? bytes : other;
      const start = below(random, Math.max(1, from.length));
      const part = from.subarray(start, start + 1 + below(random, 256));
      return Buffer.concat([bytes.subarray(0, at), part, bytes.subarray(at)]);
    }
    case 6: // a part removed
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + below(random, 64))]);
    default: {
      // a digit, as in a header of JSON
      const digits = [...bytes.subarray(0, 4096).keys()].filter((i) => bytes[i]! >= 48 && bytes[i]! <= 57);
      if (digits.length > 0) copy[choose(random, digits)] = 48 + below(random, 10);
      return copy;
    }
  }
}

/** Puts something else under the file's name, or nothing. */
function replace(file: string, outside: string, random: Random): void {
  rmSync(file, { recursive: true, force: true });
  const secret = path.join(outside, 'secret');
  switch (below(random, 9)) {
    case 0:
      return symlinkSync(secret, file);
    case 1:
      return symlinkSync(outside, file);
    case 2:
      return symlinkSync(path.join(outside, 'made'), file);
    case 3:
      return symlinkSync('/dev/zero', file);
    case 4:
      execFileSync('mkfifo', [file]);
      return;
    case 5:
      return linkSync(secret, file);
    case 6:
      return void mkdirSync(path.join(file, 'deeper'), { recursive: true });
    case 7:
      writeFileSync(file, '');
      return truncateSync(file, 2 ** 36);
    default:
      return; // gone
  }
}

/** Whether a folder below `root` and all its parents down from `root` are folders and not links. */
function isPlainFolder(folder: string, root: string): boolean {
  if (folder !== root && !isPlainFolder(path.dirname(folder), root)) return false;
  return lstatSync(folder, { throwIfNoEntry: false })?.isDirectory() === true;
}

/** Changes a copy of the folder. @returns What was done. */
function mutate(folder: string, outside: string, options: FolderFuzzOptions, random: Random): string {
  const { files, mend, changes = [] } = options;
  const done: string[] = [];
  const times = random() < 0.7 ? 1 : 1 + below(random, 4);
  for (let i = 0; i < times; i++) {
    const name = choose(random, files);
    const file = path.join(folder, name);
    const kind = random();
    // a parent may already have been replaced by a link that leads out
    if (!isPlainFolder(path.dirname(file), folder)) continue;
    if (kind < 0.07) {
      replace(file, outside, random);
      done.push(`${name} replaced`);
    } else if (kind < 0.4 && changes.length > 0) {
      choose(random, changes)(folder, random);
      done.push('a specific change');
    } else {
      const [bytes, other] = [name, choose(random, files)].map((each) => {
        const good = path.join(options.folder, each);
        return statSync(good, { throwIfNoEntry: false })?.isFile() === true
          ? readFileSync(good)
          : Buffer.from('{}');
      }) as [Buffer, Buffer];
      const isJson = /\.(json|jsonl|safetensors)$/.test(name) && random() < 0.6;
      rmSync(file, { recursive: true, force: true });
      let changed = isJson ? mutateJson(name, bytes, random) : mutateBytes(bytes, other, random);
      if (random() < 0.2) changed = mutateBytes(changed, other, random);
      writeFileSync(file, changed);
      done.push(`${name} ${isJson ? 'as hostile JSON' : 'changed'}`);
    }
  }
  if (random() < 0.85) mend?.(folder);
  return done.join(', ');
}

/** A process that reads mutants until it crashes or is stopped. */
class Reader {
  readonly #child: ChildProcess;
  #settle: ((answer: FromReader | string) => void) | null = null;

  constructor(reader: URL) {
    this.#child = fork(fileURLToPath(new URL('./fuzz-reader.js', import.meta.url)), [reader.href], {
      execArgv: [],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      env: { ...process.env, NODE_TEST_CONTEXT: undefined },
    });
    let stderr = '';
    this.#child.stderr?.on('data', (chunk: Buffer) => (stderr = (stderr + chunk.toString()).slice(-2000)));
    this.#child.on('message', (answer) => this.#settle?.(answer as FromReader));
    this.#child.on('exit', (code, signal) =>
      this.#settle?.(`the process ended (${signal ?? code})${stderr === '' ? '' : `: ${stderr}`}`),
    );
  }

  /** @returns The answer, or how the process ended. */
  read(message: ToReader): Promise<FromReader | string> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.end();
        resolve(`it hung: not finished after ${WAIT_MS} ms`);
      }, WAIT_MS);
      this.#settle = (answer) => {
        clearTimeout(timer);
        this.#settle = null;
        resolve(answer);
      };
      this.#child.send(message);
    });
  }

  end(): void {
    this.#settle = null;
    this.#child.kill('SIGKILL');
  }
}

/** Mutates, reads and counts. Mutant i of a seed is the same whatever the count. */
export async function fuzzFolder(options: FolderFuzzOptions): Promise<FolderFuzzResult> {
  const { scratch, limitMs = 10_000, limitMiB = 1024 } = options;
  const result: FolderFuzzResult = {
    ...{ read: 0, refused: 0, failures: 0, slowestMs: 0, peakMiB: 0 },
    reasons: new Map(),
  };
  const outside = path.join(scratch, 'outside');
  const prepare = (): void => {
    rmSync(outside, { recursive: true, force: true });
    mkdirSync(outside);
    writeFileSync(path.join(outside, 'secret'), SECRET);
  };
  prepare();
  const begin = async (): Promise<{ reader: Reader; usual: number }> => {
    const reader = new Reader(options.reader);
    const folder = path.join(scratch, 'good');
    cpSync(options.folder, folder, { recursive: true });
    const answer = await reader.read({ folder, scratch: path.join(scratch, 'made') });
    rmSync(folder, { recursive: true });
    rmSync(path.join(scratch, 'made'), { recursive: true, force: true });
    if (typeof answer === 'string') throw new Error(`the good folder can't be read: ${answer}`);
    if (answer.errors.length > 0)
      throw new Error(`the good folder can't be read: ${JSON.stringify(answer.errors)}`);
    return { reader, usual: answer.peakMiB };
  };
  let { reader, usual } = await begin();
  try {
    for (let i = 0; i < options.count; i++) {
      const random = generator(Math.imul(options.seed, 1_000_003) + i);
      const folder = path.join(scratch, `mutant-${i}`);
      const made = path.join(scratch, 'made');
      cpSync(options.folder, folder, { recursive: true });
      const done = mutate(folder, outside, options, random);
      const answer = await reader.read({ folder, scratch: made });
      const problems: string[] = [];
      if (typeof answer === 'string') problems.push(answer);
      else {
        result.peakMiB = Math.max(result.peakMiB, answer.peakMiB - usual);
        result.slowestMs = Math.max(result.slowestMs, answer.cpuMs);
        if (answer.cpuMs > limitMs) problems.push(`it took ${answer.cpuMs} ms`);
        if (answer.peakMiB - usual > limitMiB) problems.push(`${answer.peakMiB} MiB, ${usual} are usual`);
        problems.push(...answer.failures);
        for (const message of answer.errors) {
          const reason = message.replaceAll(folder, '').replace(/[^a-z ]+/gi, ' ').trim().split(/ +/).slice(0, 7).join(' '); // prettier-ignore
          result.reasons.set(reason, (result.reasons.get(reason) ?? 0) + 1);
        }
        if (answer.errors.length > 0) result.refused++;
        else result.read++;
      }
      const left = readdirSync(outside);
      if (left.length !== 1 || readFileSync(path.join(outside, 'secret'), 'utf8') !== SECRET) {
        problems.push(`it wrote outside: ${left.join(', ')}`);
        prepare();
      }
      rmSync(folder, { recursive: true, force: true });
      rmSync(made, { recursive: true, force: true });
      if (problems.length === 0) continue;
      result.failures++;
      options.onFailure?.(`seed ${options.seed}, mutant ${i} (${done}): ${problems.join('; ')}`);
      reader.end();
      ({ reader, usual } = await begin());
    }
  } finally {
    reader.end();
  }
  return result;
}
