/**
 * How many loader workers a training takes, found while it trains (`--num-workers auto`): begin with one, look how much of
 * the time goes on waiting for images, add some while that makes steps faster, take them back when it does not. Where
 * the cores are busy with the training itself, more workers only take them away from it: the waiting thread makes images
 * too (src/data/load/pool.ts), so waiting alone does not say that a worker is missing.
 *
 * It knows times alone, which never change a batch: batches don't depend on the number of workers.
 */

/** Times of one step, milliseconds. */
export interface StepTimes {
  /** Spent waiting for the batch. */
  waitMs: number;
  /** Spent on the step itself. */
  workMs: number;
}

/** Up to this share of the time, waiting is no matter. */
const ENOUGH = 0.01;
/** More workers stay when they take this share off a step's time; less is noise. */
const GAIN = 0.02;
/** Steps after a change that don't count: their batches were begun by as many workers as before, or by cold ones. */
const PASSED_OVER = 4;
/** Steps, and milliseconds, that are looked at together at least. */
const STEPS = 8;
const MILLISECONDS = 2000;
/** When it has settled though it waits: how much longer it must wait before more workers are tried again. */
const WORSE = 0.05;

interface Look {
  /** Mean time of a step, of all but the slowest tenth: a checkpoint's copy may be among them. */
  stepMs: number;
  /** Share of the time that went on waiting. */
  wait: number;
}

function lookAt(steps: readonly StepTimes[]): Look {
  const total = ({ waitMs, workMs }: StepTimes): number => waitMs + workMs;
  const usual = [...steps].sort((a, b) => total(a) - total(b)).slice(0, Math.floor(0.9 * steps.length));
  const sum = (of: (step: StepTimes) => number): number => usual.reduce((all, step) => all + of(step), 0);
  return { stepMs: sum(total) / usual.length, wait: sum(({ waitMs }) => waitMs) / sum(total) };
}

export class WorkerCount {
  readonly #most: number;
  #count = 1;
  #steps: StepTimes[] = [];
  #passOver = PASSED_OVER;
  /** What was before the workers were added that are on trial. */
  #before: { count: number; look: Look } | null = null;
  /** The share of waiting that it has settled with; null while it is looking for a number. */
  #accepted: number | null = null;

  /** @param most as many as there are cores for */
  constructor(most: number) {
    this.#most = Math.max(1, most);
  }

  /** Workers for the next step. */
  get count(): number {
    return this.#count;
  }

  /** The share of the time, 0 to 1, that it has settled with waiting for images; null while it is looking for a number. */
  get settled(): number | null {
    return this.#accepted;
  }

  /** Takes a step's times; `count` and `settled` may be others afterwards. */
  observe(step: StepTimes): void {
    if (this.#passOver > 0) {
      this.#passOver--;
      return;
    }
    this.#steps.push(step);
    const spent = this.#steps.reduce((sum, { waitMs, workMs }) => sum + waitMs + workMs, 0);
    if (this.#steps.length < STEPS || spent < MILLISECONDS) return;
    const look = lookAt(this.#steps);
    this.#steps = [];
    this.#decide(look);
  }

  #decide(look: Look): void {
    const before = this.#before;
    this.#before = null;
    if (before !== null && look.stepMs > (1 - GAIN) * before.look.stepMs) {
      this.#change(before.count);
      this.#accepted = before.look.wait;
      return;
    }
    // a number that is good enough is kept until it is clearly no longer so
    if (this.#accepted !== null && look.wait <= this.#accepted + WORSE) return;
    if (look.wait <= ENOUGH || this.#count === this.#most) {
      this.#accepted = look.wait;
      return;
    }
    this.#accepted = null;
    this.#before = { count: this.#count, look };
    // as many as would make images as fast as they are used, but no more than twice as many at once
    const needed = Math.ceil(this.#count / (1 - Math.min(look.wait, 0.5)));
    this.#change(Math.min(this.#most, Math.max(this.#count + 1, needed)));
  }

  #change(count: number): void {
    this.#count = count;
    this.#passOver = PASSED_OVER;
  }
}
