/**
 * Finds the runs under the given folders and notices what changes in them. It only reads: a run folder doesn't need a studio,
 * and the studio keeps nothing of its own. It polls, since file events don't cross network disks; while no page listens, it
 * doesn't.
 */
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { configPath, metricsPath, readRunConfig } from '../run/run-folder.js';
import { stackText } from '../plain/printable.js';
import type { RunSummary } from '../plain/studio-api/index.js';
import type { EventHub } from './event-hub.js';
import { type GivenFolders, StudioError } from './files.js';
import { markOf, Run } from './run.js';
import { detailsMarkOf, filesMarkOf } from './run-details.js';
import { tailOf } from './series.js';

/** Running or displayed runs are checked for new lines this often, so that a line arrives well within a second. */
const TICK_MS = 400;
/** Everything else about them, and all other runs, is checked every so many ticks. */
const SLOW_TICKS = 5;
/** While a long file is read, pages are notified this often. */
const TELL_MS = 500;
/** Levels below a given folder that are searched: FOLDER/project/experiment/run and one more. */
const DEPTH = 4;
/** A folder with more entries than this is taken for one of images. */
const ENTRIES = 20_000;
/** New runs are looked for this often. */
const SCAN_MS = 2000;
/** Looking for them takes at most about this share of the time: a slow disk is searched less often. */
const SCAN_SHARE = 0.1;

const report = (error: unknown): void => console.error(stackText(error));

const isActive = ({ state }: RunSummary): boolean => ['preparing', 'running', 'waiting'].includes(state);

export class RunWatcher {
  /** By their folders. */
  readonly #runs = new Map<string, Run>();
  /** What was read of a folder, by its path: read again only when its mark has changed. */
  readonly #known = new Map<string, { mark: string; folders: string[] }>();
  /** Of runs whose curves were asked for, what pages know of the rest of their folders. */
  readonly #toldMarks = new WeakMap<Run, string>();
  #timer: NodeJS.Timeout | undefined;
  #isHeard = false;
  #tick = 0;
  #nextScan = 0;
  #sent = '';
  #scanning: Promise<void> | null = null;

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
    const run = this.all().find((one) => one.id === id);
    if (run === undefined) throw new StudioError(404, 'This run no longer exists.', 'GONE');
    return run;
  }

  close(): void {
    this.#isHeard = false;
    clearTimeout(this.#timer);
  }

  /**
   * Reads what is new in a run's metrics, and notifies the pages while it does; also of an evaluation or what else is new in its
   * folder.
   * @returns Resolves when all is read.
   */
  async read(run: Run): Promise<void> {
    let told = performance.now();
    const isChanged = await run.read(() => {
      if (performance.now() - told <= TELL_MS) return;
      told = performance.now();
      this.events.send({ type: 'metrics', run: run.id, tail: null });
    });
    const files = await filesMarkOf(run.path);
    const hasNewFiles = this.#isNews(run, files);
    if (!isChanged && !hasNewFiles) return;
    const mark = await detailsMarkOf(run, files);
    // without new lines the tail has the last ones again: a page takes those that it lacks
    this.events.send({ type: 'metrics', run: run.id, tail: tailOf(run.log(), mark) });
  }

  /** Whether a run's folder holds other files, by their mark, than pages were told of; they are to be told now. */
  #isNews(run: Run, files: string): boolean {
    if (files === this.#toldMarks.get(run)) return false;
    this.#toldMarks.set(run, files);
    return true;
  }

  /** Finds runs that came or went, and looks at all runs again. */
  async refresh(): Promise<RunSummary[]> {
    await this.scan();
    await Promise.all(this.all().map((run) => run.look()));
    return this.list();
  }

  /** Finds runs that came or went. */
  scan(): Promise<void> {
    this.#scanning ??= this.#scan().finally(() => (this.#scanning = null));
    return this.#scanning;
  }

  async #scan(): Promise<void> {
    const start = performance.now();
    const found = new Map<string, string>();
    for (const root of this.folders.roots) await this.#walk(root, root, 0, found);
    const now = performance.now();
    this.#nextScan = now + Math.max(SCAN_MS, (now - start) / SCAN_SHARE);
    for (const [folder, name] of found) {
      if (this.#runs.has(folder)) continue;
      const run = new Run(folder, name);
      await run.look();
      this.#runs.set(folder, run);
    }
    for (const folder of this.#runs.keys()) if (!found.has(folder)) this.#runs.delete(folder);
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
    const folders: string[] = [];
    try {
      const entries = await readdir(folder, { withFileTypes: true });
      if (entries.length <= ENTRIES) {
        for (const entry of entries) {
          if (entry.name.startsWith('.') || entry.name === 'node_modules') continue;
          const place = path.join(folder, entry.name);
          if (entry.isDirectory() || (entry.isSymbolicLink() && (await this.folders.reaches(place))))
            folders.push(place);
        }
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
        .catch(report)
        .finally(() => {
          if (this.#isHeard) this.#schedule(TICK_MS);
        });
    }, delay);
    this.#timer.unref();
  }

  async #look(): Promise<void> {
    const isSlow = this.#tick++ % SLOW_TICKS === 0;
    // a slow disk holds up nothing else
    if (performance.now() >= this.#nextScan && this.#scanning === null)
      void this.scan().then(() => this.#tell(), report);
    for (const run of this.all()) {
      const isWatched = isActive(run.summary) || run.isRead;
      const hasNews = (isSlow || isWatched) && (await run.hasNews());
      if (!isSlow && !hasNews) continue;
      await run.look();
      if (run.isGone) this.#runs.delete(run.path);
      // a long file is read while others are looked at
      else if (run.isRead) void this.read(run);
      // an open page has its curves still, when they were dropped here
      else if (hasNews || (this.#toldMarks.has(run) && this.#isNews(run, await filesMarkOf(run.path))))
        this.events.send({ type: 'metrics', run: run.id, tail: null });
    }
    this.#tell();
  }

  /** Sends the list of runs to the pages, unless they have it already: routes look at runs too. */
  #tell(): void {
    const runs = this.list();
    const sent = JSON.stringify(runs);
    if (sent === this.#sent) return;
    this.#sent = sent;
    this.events.send({ type: 'runs', runs });
  }
}

/** Newest first, active ones before all others. */
function newestFirst(a: RunSummary, b: RunSummary): number {
  return (
    Number(isActive(b)) - Number(isActive(a)) ||
    (b.changed ?? 0) - (a.changed ?? 0) ||
    (a.name < b.name ? -1 : 1)
  );
}

/** A run has settings and either metrics or a fingerprint; a config.json of something else has neither. */
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
