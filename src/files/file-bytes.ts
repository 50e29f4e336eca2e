/** Reading a large file piece by piece, never more than asked for. */
import { closeSync, readSync } from 'node:fs';
import { CheckpointError } from '../errors.js';
import { messageOf, printable } from '../plain/printable.js';
import { openToRead } from './guarded.js';

/** The most bytes that one read call is asked for. */
const MAX_PART_BYTES = 2 ** 30;
/** Bytes of a piece. */
const PIECE_BYTES = 2 ** 22;

/** An open file. The caller closes it. */
export class FileBytes implements Disposable {
  readonly size: number;
  /** -1 once closed: the descriptor may belong to another file by then. */
  #fd: number;

  /**
   * @param within - An untrusted run or index folder: no link below it is followed.
   * @throws CheckpointError when it can't be opened or is not a regular file.
   */
  constructor(
    readonly file: string,
    within?: string,
  ) {
    const opened = openToRead(file, { within, maxBytes: Infinity, failure: CheckpointError });
    this.#fd = opened.fd;
    this.size = opened.size;
  }

  /** @throws CheckpointError when the file ends earlier. */
  read(position: number, length: number): Buffer<ArrayBuffer> {
    if (!(position >= 0 && length >= 0 && position + length <= this.size)) {
      throw new CheckpointError(
        `${printable(this.file)}: expected ${length} bytes at ${position}, but the file has only ${this.size}: it is damaged or incomplete`,
      );
    }
    const into = Buffer.from(new ArrayBuffer(length));
    for (let done = 0; done < length;) {
      let count: number;
      try {
        count = readSync(this.#fd, into, done, Math.min(MAX_PART_BYTES, length - done), position + done);
      } catch (error) {
        throw new CheckpointError(`${printable(this.file)} can't be read: ${messageOf(error)}`, {
          cause: error,
        });
      }
      if (count === 0)
        throw new CheckpointError(`${printable(this.file)} became shorter while it was being read`);
      done += count;
    }
    return into;
  }

  /** The file from front to end, in pieces that fit into memory. @throws CheckpointError as read(). */
  *pieces(): Generator<Buffer<ArrayBuffer>> {
    for (let at = 0; at < this.size; at += PIECE_BYTES)
      yield this.read(at, Math.min(PIECE_BYTES, this.size - at));
  }

  close(): void {
    if (this.#fd !== -1) closeSync(this.#fd);
    this.#fd = -1;
  }
  [Symbol.dispose](): void {
    this.close();
  }
}
