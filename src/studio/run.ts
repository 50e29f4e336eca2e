/** One run: its settings, its state, and its curves while a page shows them. */
import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { monitorPatience } from '../dino/collapse-monitor.js';
import { readLock } from '../files/folder-lock.js';
import { lastLine } from '../files/json-lines.js';
import { configPath, metricsPath, readRunConfig, type RunConfig } from '../run/run-folder.js';
import { notePath, readRunNote, type RunNote } from '../run/run-note.js';
import { stepsOf } from '../run/settings.js';
import type { RunSummary } from '../plain/studio-api/index.js';
import { MetricsLog, type MetricsLogOptions } from './metrics-log.js';
import { stateOf } from './run-state.js';

/** Curves that no page has asked for in this time are dropped, and read again when one does. */
const FORGET_MS = 10 * 60_000;

/** Steps in an epoch: a last, smaller batch is dropped. Null when there would be none. */
const stepsInEpoch = (config: RunConfig): number | null =>
  Math.floor(config.imageCount / imagesInStep(config)) || null;

/** Of all processes together. */
const imagesInStep = ({ settings, processes }: RunConfig): number => settings.batchSize * processes;

function logOptions(config: RunConfig | null): MetricsLogOptions {
  if (config === null) return { imagesPerStep: null, monitor: null };
  const patience = monitorPatience(stepsInEpoch(config) ?? 0);
  return { imagesPerStep: imagesInStep(config), monitor: { outDim: config.settings.outDim, patience } };
}

/** A run that was found. */
export class Run {
  readonly id: string;
  config: RunConfig | null = null;
  summary: RunSummary;
  #configMark = '';
  #metricsMark = '';
  #step: number | null = null;
  #interval: number | null = null;
  #changed: number | null = null;
  #problem: string | null = null;
  #noteMark = '';
  #note: RunNote = { text: '', isHidden: false };
  /** Why its note can't be read; null when it can. */
  noteProblem: string | null = null;
  #log: MetricsLog | null = null;
  #reading: Promise<boolean> | null = null;
  #used = 0;

  constructor(
    /** Absolute, links followed. */
    readonly path: string,
    readonly name: string,
  ) {
    this.id = createHash('sha256').update(path).digest('hex').slice(0, 16);
    this.summary = this.#describe();
  }

  /** Whether a page shows its curves. */
  get isRead(): boolean {
    if (this.#log !== null && this.#reading === null && Date.now() - this.#used > FORGET_MS) this.#log = null;
    return this.#log !== null;
  }

  /** Whether its folder held no run any more when it was last looked at. */
  get isGone(): boolean {
    return this.#configMark === '';
  }

  /** Its curves. `read()` reads them; those that no page has asked for in a while are dropped. */
  log(): MetricsLog {
    this.#used = Date.now();
    this.#log ??= new MetricsLog(metricsPath(this.path), logOptions(this.config));
    return this.#log;
  }

  /** @returns Whether anything was new. Two calls at once share one reading. */
  read(onChunk: () => void): Promise<boolean> {
    const log = (this.#log ??= this.log());
    this.#reading ??= log.advance(onChunk).finally(() => (this.#reading = null));
    return this.#reading;
  }

  /** Whether there may be new lines: one stat(). */
  async hasNews(): Promise<boolean> {
    return (await markOf(metricsPath(this.path))) !== this.#metricsMark;
  }

  /** Looks again: `summary` is fresh afterwards. */
  async look(): Promise<void> {
    await this.#lookAtConfig();
    await this.#lookAtMetrics();
    await this.#lookAtNote();
    this.summary = this.#describe();
  }

  async #lookAtConfig(): Promise<void> {
    const mark = await markOf(configPath(this.path));
    if (mark === this.#configMark) return;
    this.#configMark = mark;
    try {
      this.config = readRunConfig(this.path);
      this.#problem = null;
    } catch (error) {
      this.config = null;
      this.#problem = (error as Error).message;
    }
    this.#log?.restart(logOptions(this.config));
  }

  async #lookAtMetrics(): Promise<void> {
    const file = metricsPath(this.path);
    const mark = await markOf(file);
    if (mark === this.#metricsMark) return;
    this.#metricsMark = mark;
    this.#changed = mark === '' ? null : Number(mark.split(' ')[0]);
    const last = mark === '' ? null : lastStep(file);
    this.#step = last?.step ?? null;
    const batchSize = this.config === null ? undefined : imagesInStep(this.config);
    if (last !== null && batchSize !== undefined && last.imagesPerSecond > 0)
      this.#interval = (1000 * batchSize * (this.config?.settings.logEvery ?? 1)) / last.imagesPerSecond;
  }

  async #lookAtNote(): Promise<void> {
    const mark = await markOf(notePath(this.path));
    if (mark === this.#noteMark) return;
    this.#noteMark = mark;
    try {
      this.#note = readRunNote(this.path);
      this.noteProblem = null;
    } catch (error) {
      this.noteProblem = (error as Error).message;
    }
  }

  #describe(): RunSummary {
    const { config } = this;
    const stepsPerEpoch = config === null ? null : stepsInEpoch(config);
    const epochs = config?.settings.epochs ?? null;
    const totalSteps =
      stepsPerEpoch === null || config === null ? null : stepsOf(config.settings, stepsPerEpoch);
    const signs = { lock: readLock(this.path), step: this.#step, totalSteps, changed: this.#changed };
    const state =
      this.#problem === null
        ? stateOf({ ...signs, interval: this.#interval }, this.path)
        : { state: 'damaged' as const, sentence: this.#problem };
    return {
      id: this.id,
      name: this.name,
      path: this.path,
      ...state,
      step: this.#step,
      totalSteps,
      epochs,
      stepsPerEpoch,
      changed: this.#changed,
      images: config?.images ?? null,
      arch: config?.settings.arch ?? null,
      note: this.#note.text,
      isHidden: this.#note.isHidden,
    };
  }
}

/** Changes whenever a file does; empty when it isn't there. */
export async function markOf(file: string): Promise<string> {
  try {
    const { mtimeMs, size, ino } = await stat(file);
    return `${mtimeMs} ${size} ${ino}`;
  } catch {
    return '';
  }
}

/** Step and speed of the last line of a log that names a step; null without one, or for a log that can't be read. */
function lastStep(file: string): { step: number; imagesPerSecond: number } | null {
  try {
    const line = lastLine(file, ({ step }) => typeof step === 'number');
    return line && { step: Number(line['step']), imagesPerSecond: Number(line['imagesPerSecond'] ?? 0) };
  } catch {
    return null;
  }
}
