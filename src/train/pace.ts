/**
 * The pace of a run for a time (`--for`): how much of the time is used, and how many steps the run should have to end on
 * time. A step's duration is known only roughly before the run, and changes during it with the machine's load, so the length
 * is looked at again and again: often at first, every tenth of the run then, and ever more often towards its end.
 */
import { lastLine } from '../files/json-lines.js';
import { metricsPath, type RunTime } from '../run/run-folder.js';
import { MOST_STEPS } from '../run/settings.js';
import type { TrainEvent } from './events.js';

/** The first look is after this share of the steps. */
const FIRST_LOOK = 0.02;
const LOOK = 0.1;
/** Differences below this share of the steps left are noise. */
const NOISE = 0.02;
/** The same for a look whose only measurement includes the loader's start. */
const FIRST_NOISE = 0.1;
/** Checkpoints that were not measured yet take about this long, seconds. */
const CHECKPOINT_SECONDS = 0.5;

/** Steps that a run for a time is begun with when nothing was measured: its first steps then show how long it can be. */
export const GUESS = 100;

export interface PaceOptions extends RunTime {
  /** Milliseconds of `now` when this session began, its start-up included. */
  startedAt: number;
  /** Steps done before this session. */
  step: number;
  /** Milliseconds now; default performance.now(). */
  now?: () => number;
}

/** Whole steps that fit in a time, and in a run. */
export function stepsInTime(secondsLeft: number, secondsPerStep: number): number {
  return Math.min(MOST_STEPS, Math.max(0, Math.floor(secondsLeft / secondsPerStep)));
}

/** The step after `step` of `total` at which the length is looked at again. */
export function nextLook(first: number, step: number, total: number): number {
  const own = total - first;
  const done = step - first;
  const wanted = Math.min(Math.max(done, FIRST_LOOK * own), LOOK * own, (total - step) / 4);
  return step + Math.max(1, Math.ceil(wanted));
}

export class Pace {
  readonly seconds: number;
  readonly #usedBefore: number;
  readonly #untilStalled: boolean;
  #stalledAt: number | undefined;
  readonly #startedAt: number;
  readonly #first: number;
  readonly #now: () => number;
  /** When which step was done, at every look. */
  #marks: { step: number; at: number }[] = [];
  #next = 0;
  #checkpointSeconds = CHECKPOINT_SECONDS;
  readonly #evaluationSeconds = { knn: 0, judge: 0 };

  constructor(options: PaceOptions) {
    const { seconds, used, startedAt, step, now = () => performance.now() } = options;
    this.#untilStalled = options.untilStalled === true;
    this.#stalledAt = options.stalledAt;
    this.seconds = seconds;
    this.#usedBefore = used;
    this.#startedAt = startedAt;
    this.#first = step;
    this.#now = now;
  }

  /** Seconds that the run has taken in all its sessions. */
  get used(): number {
    return this.#usedBefore + (this.#now() - this.#startedAt) / 1000;
  }

  /** For the run folder. */
  get time(): RunTime {
    const stalledAt = this.#stalledAt;
    return {
      ...{ seconds: this.seconds, used: this.used },
      ...(this.#untilStalled ? { untilStalled: true } : {}),
      ...(stalledAt === undefined ? {} : { stalledAt }),
    };
  }

  /** Seconds until the last step must be done: the last checkpoint and evaluation come after it. */
  get left(): number {
    const { knn, judge } = this.#evaluationSeconds;
    return this.seconds - this.used - this.#checkpointSeconds - knn - judge;
  }

  /** The first step of this session begins. */
  start(total: number): void {
    this.#marks = [{ step: this.#first, at: this.#now() }];
    this.#next = nextLook(this.#first, this.#first, total);
  }

  /** Whether length() should be asked after this step; the same in all processes of a run. */
  isDue(step: number): boolean {
    return this.#stalledAt === undefined && step >= this.#next;
  }

  /** Whether the run is to end because the judge sees no gain any more. */
  get endsWhenStalled(): boolean {
    return this.#untilStalled && this.#stalledAt === undefined;
  }

  /** From now on the length is settled. */
  stall(step: number): void {
    this.#stalledAt = step;
  }

  /** The length has been looked at after this step. */
  looked(step: number, total: number): void {
    this.#next = nextLook(this.#first, step, total);
  }

  /** Steps that the whole run should have, so that it ends on time; `total` when it is right as it is. */
  length(step: number, total: number): number {
    const at = this.#now();
    const [start] = this.#marks;
    if (start === undefined || step <= start.step) return total;
    // the later half of this session: it follows the load, and has checkpoints and evaluations in it
    const mark = this.#marks.findLast((one) => one.step <= (start.step + step) / 2) ?? start;
    const secondsPerStep = (at - mark.at) / 1000 / (step - mark.step);
    const wanted = step + stepsInTime(this.left, secondsPerStep);
    this.#marks.push({ step, at });
    const noise = mark === start ? FIRST_NOISE : NOISE;
    return Math.abs(wanted - total) > noise * (total - step) ? wanted : total;
  }

  /** A checkpoint tells how long the last one will take; a single slow one counts half. */
  observe(event: TrainEvent): void {
    if (event.type === 'checkpoint')
      this.#checkpointSeconds = (this.#checkpointSeconds + (event.copyMs + event.writeMs) / 1000) / 2;
  }

  /** An evaluation took this long, and one will come after the last step too. */
  evaluated(what: 'knn' | 'judge', milliseconds: number): void {
    this.#evaluationSeconds[what] = milliseconds / 1000;
  }
}

/** Steps that a resumed run can still make, at the pace of its log; a guess when it says nothing. */
export function paceOfLog(run: string, pace: Pace | null, batchSize: number): number {
  const speed = lastLine(metricsPath(run), ({ imagesPerSecond }) => Number(imagesPerSecond) > 0);
  const secondsPerStep = batchSize / Number(speed?.['imagesPerSecond']);
  return pace === null || !(secondsPerStep > 0) ? GUESS : Math.max(1, stepsInTime(pace.left, secondsPerStep));
}
