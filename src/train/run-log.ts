/**
 * The logs of a training that goes on: a line that can't be written, on a full disk say, waits in memory for space, as a
 * checkpoint waits for its next turn. Neither ends the training.
 */
import { DataError } from '../errors.js';
import { printable } from '../plain/printable.js';
import { appendLines } from '../files/json-lines.js';

/** What waits in memory, characters: some ten thousand lines. What comes then is lost, and counted. */
const WAITING_LENGTH = 4 * 2 ** 20;

/** One log of a run. */
export class RunLog {
  #file: string;
  readonly #warn: (message: string) => void;
  readonly #waitingLength: number;
  #waiting: string[] = [];
  #length = 0;
  #lost = 0;

  /** @param waitingLength - Characters that wait in memory at most; for tests. */
  constructor(file: string, warn: (message: string) => void, waitingLength = WAITING_LENGTH) {
    this.#file = file;
    this.#warn = warn;
    this.#waitingLength = waitingLength;
  }

  /** What comes, and what waits, goes there. */
  moveTo(file: string): void {
    this.#file = file;
  }

  /** Adds a line, after those that wait. */
  add(value: unknown): void {
    const line = `${JSON.stringify(value)}\n`;
    const isFirst = this.#waiting.length === 0;
    this.#waiting.push(line);
    this.#length += line.length;
    const problem = this.#write();
    if (problem === null) return;
    if (isFirst)
      this.#warn(`${problem}. The training goes on: its lines wait in memory until there is space.`);
    for (; this.#length > this.#waitingLength; this.#lost++) this.#length -= this.#waiting.pop()!.length;
  }

  /** The end: what can't be written now is lost, and told. */
  close(): void {
    const problem = this.#waiting.length > 0 ? this.#write() : null;
    if (problem === null) return;
    this.#warn(`${problem}. ${this.#count(this.#waiting.length + this.#lost)} lost.`);
    this.#waiting = [];
  }

  /** @returns Why it didn't work. */
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
        `${printable(this.#file)} can be written again: ${this.#count(late)} late` +
          (this.#lost > 0 ? `, ${this.#count(this.#lost)} lost for want of memory.` : '.'),
      );
    [this.#waiting, this.#length, this.#lost] = [[], 0, 0];
    return null;
  }

  #count = (lines: number): string => (lines === 1 ? '1 line is' : `${lines} lines are`);
}
