/**
 * The logs of a running training: a line that can't be written, for example on a full disk, is kept in memory until it can.
 * Like a failed checkpoint, this doesn't end the training.
 */
import { DataError } from '../errors.js';
import { printable } from '../plain/printable.js';
import { appendLines } from '../files/json-lines.js';

/** The most characters kept in memory: about ten thousand lines. Later lines are lost, and counted. */
const WAITING_LENGTH = 4 * 2 ** 20;

/** One log of a run. */
export class RunLog {
  #file: string;
  readonly #warn: (message: string) => void;
  readonly #waitingLength: number;
  #waiting: string[] = [];
  #length = 0;
  #lost = 0;

  /** @param waitingLength - The most characters kept in memory; for tests. */
  constructor(file: string, warn: (message: string) => void, waitingLength = WAITING_LENGTH) {
    this.#file = file;
    this.#warn = warn;
    this.#waitingLength = waitingLength;
  }

  /** Lines that are waiting or still to come are written there. */
  moveTo(file: string): void {
    this.#file = file;
  }

  /** Adds a line, after those that are waiting. */
  add(value: unknown): void {
    const line = `${JSON.stringify(value)}\n`;
    const isFirst = this.#waiting.length === 0;
    this.#waiting.push(line);
    this.#length += line.length;
    const problem = this.#write();
    if (problem === null) return;
    if (isFirst) this.#warn(`${problem}. Training continues: lines are kept in memory until there is space.`);
    for (; this.#length > this.#waitingLength; this.#lost++) this.#length -= this.#waiting.pop()!.length;
  }

  /** Ends the log: lines that still can't be written are lost, with a warning. */
  close(): void {
    const problem = this.#waiting.length > 0 ? this.#write() : null;
    if (problem === null) return;
    this.#warn(`${problem}. ${this.#count(this.#waiting.length + this.#lost)} lost.`);
    this.#waiting = [];
  }

  /** @returns Why it failed, or null. */
  #write(): string | null {
    try {
      appendLines(this.#file, this.#waiting.join(''));
    } catch (error) {
      if (!(error instanceof DataError)) throw error;
      return error.message;
    }
    const late = this.#waiting.length - 1;
    if (late > 0)
      this.#warn(
        `${printable(this.#file)} can be written again: ${this.#count(late)} delayed` +
          (this.#lost > 0 ? `, ${this.#count(this.#lost)} lost because the memory limit was reached.` : '.'),
      );
    [this.#waiting, this.#length, this.#lost] = [[], 0, 0];
    return null;
  }

  #count = (lines: number): string => (lines === 1 ? '1 line was' : `${lines} lines were`);
}
