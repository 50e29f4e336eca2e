/**
 * The heartbeat of a folder's holder: a counter in its lock. A separate thread increments it, so that a training step that
 * keeps the main thread busy for minutes doesn't delay it.
 *
 * The counter has a fixed position and width in the text, so a beat is one small write into the existing file.
 */
import { closeSync, constants, fstatSync, futimesSync, openSync, readSync, writeSync } from 'node:fs';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

const DIGITS = 10;
const FIELD = '"beat":"';

interface Beating {
  file: string;
  /** The lock's id: no other lock is written to. */
  id: string;
  text: string;
  beatMs: number;
}

/** Writes one beat. After a disk error the next beat tries again. */
function beat({ file, id, text }: Beating, count: number): void {
  let fd: number;
  try {
    fd = openSync(file, constants.O_RDWR | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0));
  } catch {
    return; // released, moved, or a failing disk
  }
  try {
    const there = Buffer.alloc(text.length);
    if (!fstatSync(fd).isFile() || readSync(fd, there, 0, there.length, 0) !== there.length) return;
    if (!there.toString('latin1').includes(`"id":"${id}"`)) return; // another process's lock
    try {
      writeSync(fd, String(count).padStart(DIGITS, '0'), text.indexOf(FIELD) + FIELD.length, 'latin1');
    } catch {
      futimesSync(fd, new Date(), new Date()); // a full disk with a copy-on-write file system
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
  // ASCII only: offsets in the text are offsets in the file
  return (
    json.replace(/[^\x20-\x7e]/g, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`) + '\n'
  );
}

/** Beats until it is stopped or the process ends. It does not keep the process alive. */
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
    // no thread available: a beat that a long step delays is better than none
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
