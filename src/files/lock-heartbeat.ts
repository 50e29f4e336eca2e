/**
 * The sign of life of a folder's holder: a number in its lock that goes up. A thread of its own writes it, which a training
 * step that keeps this one busy for minutes doesn't hold up.
 *
 * The number has a fixed place and width in the text, so that a beat is one small write into the file that is there.
 */
import { closeSync, constants, fstatSync, futimesSync, openSync, readSync, writeSync } from 'node:fs';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

const DIGITS = 10;
const FIELD = '"beat":"';

interface Beating {
  file: string;
  /** Of the lock: nothing else is written into. */
  id: string;
  text: string;
  beatMs: number;
}

/** Writes one beat. A disk that fails is tried again at the next. */
function beat({ file, id, text }: Beating, count: number): void {
  let fd: number;
  try {
    fd = openSync(file, constants.O_RDWR | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0));
  } catch {
    return; // given back, moved, or a disk that fails
  }
  try {
    const there = Buffer.alloc(text.length);
    if (!fstatSync(fd).isFile() || readSync(fd, there, 0, there.length, 0) !== there.length) return;
    if (!there.toString('latin1').includes(`"id":"${id}"`)) return; // somebody else's
    try {
      writeSync(fd, String(count).padStart(DIGITS, '0'), text.indexOf(FIELD) + FIELD.length, 'latin1');
    } catch {
      futimesSync(fd, new Date(), new Date()); // a full disk of the kind that writes every change anew
    }
  } catch {
    // the next beat
  } finally {
    closeSync(fd);
  }
}

/** A lock's text, with room for its beat. */
export function textWithBeat(lock: object): string {
  const json = JSON.stringify({ ...lock, beat: '0'.repeat(DIGITS) });
  // ASCII alone: places in the text are places in the file
  return (
    json.replace(/[^\x20-\x7e]/g, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`) + '\n'
  );
}

/** Beats until it is stopped, or the process ends. It keeps no process alive. */
export class Heartbeat {
  readonly #worker: Worker;
  #timer: NodeJS.Timeout | undefined;
  #isStopped = false;

  constructor(beating: Beating) {
    this.#worker = new Worker(new URL('./lock-heartbeat.js', import.meta.url), {
      workerData: { heartbeat: beating },
      resourceLimits: { maxOldGenerationSizeMb: 16 },
    });
    this.#worker.unref();
    // no thread to be had: better a beat that a long step holds up than none
    this.#worker.on('error', () => {
      let count = 0;
      if (!this.#isStopped) this.#timer = setInterval(() => beat(beating, ++count), beating.beatMs).unref();
    });
  }

  stop(): void {
    this.#isStopped = true;
    clearInterval(this.#timer);
    void this.#worker.terminate();
  }
}

const given = (workerData as { heartbeat?: Beating } | null)?.heartbeat;
if (!isMainThread && parentPort !== null && given !== undefined) {
  let count = 0;
  setInterval(() => beat(given, ++count), given.beatMs);
}
