/** The course of a run: its length, which may change, and the schedules for it. Every change is in the run folder first. */
import { CheckpointError, DataError } from '../errors.js';
import type { World } from '../processes/world.js';
import { changeLength, type Extension, recordTime, type RunTime } from '../run/run-folder.js';
import { lengthInSteps, MOST_STEPS, type RunLength, stepsOf, type TrainSettings } from '../run/settings.js';
import { Pace, paceOfLog } from './pace.js';
import { buildSchedules, extended, type Schedules, type ScheduleSizes } from './schedules.js';

export interface CourseOptions {
  run: string;
  settings: TrainSettings;
  sizes: ScheduleSizes;
  /** The length planned so far, and its earlier changes. */
  planned: RunLength;
  extensions: readonly Extension[];
  /** Of a run for a time. */
  time: RunTime | null;
  /** When this session began, by performance.now(). */
  startedAt: number;
  /** Steps done. */
  step: number;
  world: World;
  warn: (message: string) => void;
}

/** A run that has stopped getting better goes on for this share of the steps done, to end with annealed schedules. */
const COOL_DOWN = 0.1;

export class Course {
  readonly #options: CourseOptions;
  readonly pace: Pace | null;
  #length: RunLength;
  #extensions: readonly Extension[];
  #schedules: Schedules;

  constructor(options: CourseOptions) {
    this.#options = options;
    const { planned, extensions, time, startedAt, step } = options;
    this.pace = time === null ? null : new Pace({ ...time, startedAt, step });
    this.#length = planned;
    this.#extensions = extensions;
    this.#schedules = this.#build();
  }

  get length(): RunLength {
    const { epochs, steps } = this.#length;
    return { epochs, steps };
  }

  /** Steps of the whole run. */
  get totalSteps(): number {
    return stepsOf(this.#length, this.#options.sizes.stepsPerEpoch);
  }

  get schedules(): Schedules {
    return this.#schedules;
  }

  /**
   * A resumed run goes on to another length: to that of the settings, or, as far as its time lasts at the pace of its log.
   * Collective. @throws DataError when that can't be recorded.
   */
  async extend(isForTime: boolean): Promise<void> {
    const { run, settings, step, sizes, world } = this.#options;
    if (isForTime) {
      const steps = await world.shared('how long it takes', () => paceOfLog(run, this.pace, sizes.batchSize));
      await this.#change(lengthInSteps(Math.min(MOST_STEPS, step + steps), sizes.stepsPerEpoch), step);
    } else if (stepsOf(settings, sizes.stepsPerEpoch) !== this.totalSteps) await this.#change(settings, step);
  }

  /**
   * Whether a checkpoint is worth its time at the end of an epoch, this many steps after the last one. A run in steps may have
   * very many epochs of very few images.
   */
  savesEpoch(stepsSince: number): boolean {
    const { saveckpFreq } = this.#options.settings;
    return this.#length.steps === undefined || saveckpFreq > 0 || 100 * stepsSince >= this.totalSteps;
  }

  /** Whether follow() is to be called after this step; the same in all processes. */
  isDue(step: number): boolean {
    return this.pace !== null && step < this.totalSteps && this.pace.isDue(step);
  }

  /** Changes the length so that the run ends on time. Collective. @returns Seconds that are left. */
  async follow(step: number): Promise<number> {
    const { world, sizes } = this.#options;
    const { pace } = this;
    if (pace === null) return Infinity;
    const steps = await world.shared('its pace', () =>
      Math.min(MOST_STEPS, pace.length(step, this.totalSteps)),
    );
    if (steps !== this.totalSteps)
      await this.#change(
        lengthInSteps(steps, sizes.stepsPerEpoch),
        step,
        'The run keeps its planned length.',
      );
    pace.looked(step, this.totalSteps);
    return pace.seconds - pace.used;
  }

  /**
   * Ends a run that no longer gets better: it has as many steps left as a tenth of those done, in which the schedules come to
   * their end. Collective. @returns Whether it ends because of that; false when it was to end sooner, or to go on anyway.
   */
  async endStalled(step: number): Promise<boolean> {
    const total = step + Math.max(1, Math.ceil(COOL_DOWN * step));
    if (this.pace?.endsWhenStalled !== true || step === 0 || total >= this.totalSteps) return false;
    this.pace.stall(step);
    const { stepsPerEpoch } = this.#options.sizes;
    await this.#change(lengthInSteps(total, stepsPerEpoch), step, 'The run goes on for its planned length.');
    return true;
  }

  /** Records the time that the run has taken. */
  keepTime(): void {
    const { pace } = this;
    if (pace === null || !this.#options.world.isFirst) return;
    const { run } = this.#options;
    this.#written(() => recordTime(run, pace.time), 'The time that the run has taken is not recorded.');
  }

  /** @param otherwise - What it means that it can't be recorded, for a warning; without it that is an error. */
  async #change(next: RunLength, step: number, otherwise?: string): Promise<void> {
    const { run, world } = this.#options;
    const extensions = extended(this.#extensions, this.#length, step);
    const isKept = await world.shared('the length of the run', () =>
      this.#written(() => changeLength(run, next, { extensions, time: this.pace?.time }), otherwise),
    );
    if (!isKept) return;
    this.#length = next;
    this.#extensions = extensions;
    this.#schedules = this.#build();
  }

  #written(write: () => void, otherwise: string | undefined): boolean {
    try {
      write();
      return true;
    } catch (error) {
      const isOfDisk = error instanceof DataError || error instanceof CheckpointError;
      if (!isOfDisk || otherwise === undefined) throw error;
      this.#options.warn(`${error.message}. ${otherwise}`);
      return false;
    }
  }

  #build(): Schedules {
    const { settings, sizes } = this.#options;
    return buildSchedules({ ...settings, ...this.length }, sizes, this.#extensions);
  }
}
