/**
 * Finds the runs under the given folders and notices what changes in them. It only reads: a run folder needs no studio, and
 * the studio keeps nothing of its own. Polled, since file events don't cross network disks; while no page listens,
 * nothing is polled at all.
 */
import { createHash } from 'node:crypto';
import { open, readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { configPath, metricsPath, readRunConfig, type RunConfig } from '../train/run-folder.js';
import type { RunSummary } from './api.js';
import type { EventHub } from './event-hub.js';
import { type GivenFolders, StudioError } from './files.js';
import { lockOf, stateOf } from './run-state.js';

/** Runs at work are looked at this often, so that a line is on the screen well within a second. */
const TICK_MS = 250;
/** All others, every so many ticks. */
const SLOW_TICKS = 8;
/** Folders below a given one that are looked into: FOLDER/project/experiment/run and one more. */
const DEPTH = 4;
/** A folder with more entries than this is one of images. */
const ENTRIES = 20_000;
/** Looking for new runs takes at most this share of the time: a slow disk is looked at less often. */
const SCAN_SHARE = 0.02;

/** Of all its processes together; resumed with another number of them a run keeps it. */
const imagesPerStep = ({ settings, processes }: RunConfig): number => settings.batchSize * processes;

const isActive = ({ state }: RunSummary): boolean => ['preparing', 'running', 'waiting'].includes(state);

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

  constructor(
    /** Absolute, links followed. */
    readonly path: string,
    readonly name: string,
  ) {
    this.id = createHash('sha256').update(path).digest('hex').slice(0, 16);
    this.summary = this.#describe();
  }

  /** Looks again. @returns Whether the summary is another one. */
  async look(): Promise<boolean> {
    await this.#lookAtConfig();
    await this.#lookAtMetrics();
    const before = JSON.stringify(this.summary);
    this.summary = this.#describe();
    return JSON.stringify(this.summary) !== before;
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
  }

  async #lookAtMetrics(): Promise<void> {
    const file = metricsPath(this.path);
    const mark = await markOf(file);
    if (mark === this.#metricsMark) return;
    this.#metricsMark = mark;
    this.#changed = mark === '' ? null : Number(mark.split(' ')[0]);
    const last = mark === '' ? null : await lastStep(file);
    this.#step = last?.step ?? null;
    const { config } = this;
    if (last !== null && config !== null && last.imagesPerSecond > 0)
      this.#interval = (1000 * imagesPerStep(config) * config.settings.logEvery) / last.imagesPerSecond;
  }

  #describe(): RunSummary {
    const { config } = this;
    const stepsPerEpoch =
      config === null ? null : Math.floor(config.imageCount / imagesPerStep(config)) || null;
    const epochs = config?.settings.epochs ?? null;
    const totalSteps = stepsPerEpoch === null || epochs === null ? null : stepsPerEpoch * epochs;
    const signs = { lock: lockOf(this.path), step: this.#step, totalSteps, changed: this.#changed };
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
    };
  }
}

/** Changes whenever a file does; empty when it isn't there. */
async function markOf(file: string): Promise<string> {
  try {
    const { mtimeMs, size, ino } = await stat(file);
    return `${mtimeMs} ${size} ${ino}`;
  } catch {
    return '';
  }
}

/** The last whole line of a log that names a step. */
async function lastStep(file: string): Promise<{ step: number; imagesPerSecond: number } | null> {
  const TAIL = 64 * 1024;
  try {
    const handle = await open(file);
    try {
      const { size } = await handle.stat();
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(TAIL), 0, TAIL, Math.max(0, size - TAIL));
      const lines = buffer.toString('utf8', 0, bytesRead).split('\n').slice(0, -1).reverse();
      for (const line of lines) {
        try {
          const { step, imagesPerSecond } = JSON.parse(line) as Record<string, unknown>;
          if (typeof step === 'number') return { step, imagesPerSecond: Number(imagesPerSecond ?? 0) };
        } catch {
          // a line that was cut off, or is damaged
        }
      }
      return null;
    } finally {
      await handle.close();
    }
  } catch {
    return null;
  }
}

export class RunWatcher {
  readonly #runs = new Map<string, Run>();
  /** What was read of a folder, by its path: read again only when its mark has changed. */
  readonly #known = new Map<string, { mark: string; folders: string[] }>();
  #timer: NodeJS.Timeout | undefined;
  #isHeard = false;
  #tick = 0;
  #nextScan = 0;
  #scanning: Promise<boolean> | null = null;

  constructor(
    readonly folders: GivenFolders,
    readonly events: EventHub,
  ) {
    events.onHeard((heard) => {
      this.#isHeard = heard;
      clearTimeout(this.#timer);
      if (heard) this.#schedule(0);
    });
  }

  list(): RunSummary[] {
    return [...this.#runs.values()].map(({ summary }) => summary).sort(newestFirst);
  }

  all(): Run[] {
    return [...this.#runs.values()];
  }

  /** @throws StudioError 404 */
  get(id: string): Run {
    const run = this.#runs.get(id);
    if (run === undefined) throw new StudioError(404, 'This run is not there any more.', 'GONE');
    return run;
  }

  close(): void {
    this.#isHeard = false;
    clearTimeout(this.#timer);
  }

  /** Looks for runs that came or went, and at all of them. */
  async refresh(): Promise<RunSummary[]> {
    await this.scan();
    await Promise.all(this.all().map((run) => run.look()));
    return this.list();
  }

  /** @returns Whether a run came or went. */
  scan(): Promise<boolean> {
    this.#scanning ??= this.#scan().finally(() => (this.#scanning = null));
    return this.#scanning;
  }

  async #scan(): Promise<boolean> {
    const start = performance.now();
    const found = new Map<string, string>();
    for (const root of this.folders.roots) await this.#walk(root, root, 0, found);
    let isChanged = false;
    for (const [folder, name] of found) {
      if (this.#runs.has(folder)) continue;
      this.#runs.set(folder, new Run(folder, name));
      isChanged = true;
    }
    for (const folder of this.#runs.keys()) {
      if (found.has(folder)) continue;
      this.#runs.delete(folder);
      isChanged = true;
    }
    const now = performance.now();
    this.#nextScan = now + Math.max(1000, (now - start) / SCAN_SHARE);
    return isChanged;
  }

  async #walk(folder: string, root: string, depth: number, found: Map<string, string>): Promise<void> {
    if (await isRun(folder)) {
      try {
        const real = await this.folders.resolve(folder);
        const relative = path.relative(root, folder);
        if (!found.has(real)) found.set(real, relative === '' ? path.basename(folder) : relative);
      } catch {
        // a link out of the given folders
      }
      return;
    }
    if (depth >= DEPTH) return;
    for (const below of await this.#foldersOf(folder)) await this.#walk(below, root, depth + 1, found);
  }

  async #foldersOf(folder: string): Promise<string[]> {
    const mark = await markOf(folder);
    const known = this.#known.get(folder);
    if (known?.mark === mark) return known.folders;
    let folders: string[] = [];
    try {
      const entries = await readdir(folder, { withFileTypes: true });
      if (entries.length <= ENTRIES) {
        folders = entries
          .filter((entry) => entry.isDirectory() || entry.isSymbolicLink())
          .filter(({ name }) => !name.startsWith('.') && name !== 'node_modules')
          .map(({ name }) => path.join(folder, name));
      }
    } catch {
      // not readable, or gone
    }
    this.#known.set(folder, { mark, folders });
    return folders;
  }

  #schedule(delay: number): void {
    this.#timer = setTimeout(() => {
      this.#look()
        .catch((error: unknown) => console.error(error))
        .finally(() => {
          if (this.#isHeard) this.#schedule(TICK_MS);
        });
    }, delay);
    this.#timer.unref();
  }

  async #look(): Promise<void> {
    const isSlow = this.#tick++ % SLOW_TICKS === 0;
    let isChanged = performance.now() >= this.#nextScan && (await this.scan());
    for (const run of this.all()) {
      if ((isSlow || isActive(run.summary)) && (await run.look())) isChanged = true;
    }
    if (isChanged) this.events.send({ type: 'runs', runs: this.list() });
  }
}

/** Newest first, those at work before all others. */
function newestFirst(a: RunSummary, b: RunSummary): number {
  return (
    Number(isActive(b)) - Number(isActive(a)) ||
    (b.changed ?? 0) - (a.changed ?? 0) ||
    (a.name < b.name ? -1 : 1)
  );
}

/** A run has its settings; a config.json of something else has no metrics beside it, nor a fingerprint. */
async function isRun(folder: string): Promise<boolean> {
  const mark = await markOf(configPath(folder));
  if (mark === '') return false;
  if ((await markOf(metricsPath(folder))) !== '') return true;
  try {
    return readRunConfig(folder).fingerprint !== '';
  } catch {
    return false;
  }
}
