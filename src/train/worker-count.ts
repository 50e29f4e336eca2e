/**
 * Finds the number of loader workers during training (`--num-workers auto`): start with one, measure how much of the time
 * is spent waiting for images, add workers while that makes steps faster, and remove them when it doesn't. If the cores are
 * busy with training itself, more workers only compete with it: the waiting thread renders images too
 * (src/data/load/pool.ts), so waiting by itself doesn't mean that a worker is missing.
 *
 * Its decisions depend on timing, but results don't: batches are the same for any number of workers.
 */

/** Times of one step, milliseconds. */
export interface StepTimes {
  /** Spent waiting for the batch. */
  waitMs: number;
  /** Spent on the step itself. */
  workMs: number;
}

/** Waiting for up to this share of the time is ignored. */
const ENOUGH = 0.01;
/** Added workers are kept if they shorten a step by at least this share; less is noise. */
const GAIN = 0.02;
/** Steps that are ignored after a change: their batches were begun by the old number of workers, or by cold ones. */
const IGNORED_STEPS = 4;
/** A decision takes at least this many steps, and this many milliseconds. */
const STEPS = 8;
const MILLISECONDS = 2000;
/** After it has settled for some waiting: by how much waiting must increase before more workers are tried again. */
const WORSE = 0.05;

interface Look {
  /** Mean time of a step, without the slowest tenth, which may include a checkpoint's copy. */
  stepMs: number;
  /** Share of the time that was spent waiting. */
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
  #ignored = IGNORED_STEPS;
  /** The count and the measurement before the workers on trial were added. */
  #before: { count: number; look: Look } | null = null;
  /** The share of waiting that it has settled for; null while it is searching. */
  #accepted: number | null = null;

  /** @param most - Limit, for example the number of cores. */
  constructor(most: number) {
    this.#most = Math.max(1, most);
  }

  /** Workers for the next step. */
  get count(): number {
    return this.#count;
  }

  /** The share of the time, 0 to 1, still spent waiting for images once it has settled; null while it is searching. */
  get settled(): number | null {
    return this.#accepted;
  }

  /** Takes the times of a step; this may change `count` and `settled`. */
  observe(step: StepTimes): void {
    if (this.#ignored > 0) {
      this.#ignored--;
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
    // a number that is good enough is kept until it clearly no longer is
    if (this.#accepted !== null && look.wait <= this.#accepted + WORSE) return;
    if (look.wait <= ENOUGH || this.#count === this.#most) {
      this.#accepted = look.wait;
      return;
    }
    this.#accepted = null;
    this.#before = { count: this.#count, look };
    // as many as would produce images as fast as they are consumed, but at most twice as many at once
    const needed = Math.ceil(this.#count / (1 - Math.min(look.wait, 0.5)));
    this.#change(Math.min(this.#most, Math.max(this.#count + 1, needed)));
  }

  #change(count: number): void {
    this.#count = count;
    this.#ignored = IGNORED_STEPS;
  }
}
