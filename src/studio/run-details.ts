/** What a run's folder holds besides its curves: checkpoints, evaluations, skipped images. Read when a page asks. */
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { openHandle, readTextIfThere, refuseLinks } from '../files/guarded.js';
import {
  bestCheckpoint,
  checkpointsPath,
  listCheckpoints,
  newestCheckpoint,
} from '../run/checkpoint-files.js';
import { configPath, evaluationsPath, skippedPath, skippedPlaceOf } from '../run/run-folder.js';
import type { CheckpointEntry, RunDetails } from '../plain/studio-api/index.js';
import { markOf, type Run } from './run.js';

/** Skipped images that are listed one by one. */
const SKIPPED_LISTED = 200;
/** An evaluation's file is some kilobytes. */
const EVALUATION_LIMIT = 4 * 2 ** 20;
/** One line for each skipped image: a hundred thousand take 20 MB. */
const SKIPPED_LIMIT = 2 ** 27;

async function checkpointsOf(run: string): Promise<CheckpointEntry[]> {
  refuseLinks(run, path.join(checkpointsPath(run), 'latest'));
  const newest = newestCheckpoint(run);
  const found: CheckpointEntry[] = [];
  const best = bestCheckpoint(run);
  const all = [...listCheckpoints(run), ...(best === null ? [] : [best])].sort((a, b) => a.step - b.step);
  for (const { step, folder } of all) {
    refuseLinks(run, folder);
    try {
      const files = await readdir(folder);
      const sizes = await Promise.all(files.map(async (file) => (await stat(path.join(folder, file))).size));
      const { mtimeMs } = await stat(folder);
      const bytes = sizes.reduce((sum, size) => sum + size, 0);
      const which = { isNewest: folder === newest, isBest: folder === best?.folder };
      found.push({ step, path: folder, bytes, written: mtimeMs, ...which });
    } catch {
      // pruned between the two calls
    }
  }
  return found.reverse();
}

async function evaluationsOf(run: string): Promise<RunDetails['evaluations']> {
  const folder = evaluationsPath(run);
  let names: string[];
  refuseLinks(run, folder);
  try {
    names = (await readdir(folder)).filter((name) => name.endsWith('.json') && !name.startsWith('.'));
  } catch {
    return [];
  }
  return Promise.all(
    names.sort().map(async (file) => {
      const name = file.slice(0, -'.json'.length);
      try {
        const full = path.join(folder, file);
        const handle = await openHandle(full, { within: run, maxBytes: EVALUATION_LIMIT });
        const text = await handle.readFile('utf8').finally(() => handle.close());
        const content: unknown = JSON.parse(text);
        if (typeof content !== 'object' || content === null) throw new Error('it does not hold an object');
        return { name, content: content as Record<string, unknown>, problem: null };
      } catch (error) {
        return { name, content: null, problem: `${file} can't be read: ${(error as Error).message}` };
      }
    }),
  );
}

function skippedOf(run: string): RunDetails['skipped'] {
  const text = readTextIfThere(skippedPath(run), { within: run, maxBytes: SKIPPED_LIMIT }) ?? '';
  const first: RunDetails['skipped']['first'] = [];
  const places = new Set<string>();
  let [count, lines] = [0, 0];
  // half a line at the end is still being written, or is left from a process that was killed
  for (
    let start = 0, end = text.indexOf('\n');
    end !== -1;
    start = end + 1, end = text.indexOf('\n', start)
  ) {
    lines++;
    const entry = { path: `line ${lines} of skipped.jsonl`, reason: 'it is damaged' };
    try {
      const line = JSON.parse(text.slice(start, end)) as Record<string, unknown>;
      const place = skippedPlaceOf(line);
      if (places.has(place)) continue;
      places.add(place);
      Object.assign(entry, { path: String(line['path']), reason: String(line['reason']) });
    } catch {
      // named as it is
    }
    count++;
    if (count <= SKIPPED_LISTED) first.push(entry);
  }
  return { count, first };
}

/** Changes whenever one of the files and folders that `detailsOf` reads does; looks only at their times. */
export async function filesMarkOf(run: string): Promise<string> {
  const files = [configPath(run), checkpointsPath(run), evaluationsPath(run), skippedPath(run)];
  return (await Promise.all(files.map(markOf))).join();
}

/** Changes whenever the result of `detailsOf` does. @param files - The run's filesMarkOf(), where it is known. */
export async function detailsMarkOf(run: Run, files?: string): Promise<string> {
  const { problem, bad, names, evaluations } = run.log();
  return JSON.stringify([files ?? (await filesMarkOf(run.path)), problem, bad, names, evaluations.length]);
}

/** All but the curves and how the run stands. A part that can't be read is a sentence in `problems`. */
export async function detailsOf(run: Run): Promise<RunDetails> {
  const problems: string[] = [];
  const attempt = async <T>(what: string, read: () => T | Promise<T>, otherwise: T): Promise<T> => {
    try {
      return await read();
    } catch (error) {
      problems.push(`The ${what} can't be read: ${(error as Error).message}`);
      return otherwise;
    }
  };
  const log = run.log();
  const mark = await detailsMarkOf(run);
  if (log.problem !== null && run.summary.step !== null) problems.push(log.problem);
  if (log.bad > 0) {
    problems.push(
      `${log.bad} line${log.bad === 1 ? '' : 's'} of metrics.jsonl can't be read, the first is line ${log.firstBad}; ` +
        'the curves are drawn without them.',
    );
  }
  if (run.noteProblem !== null) problems.push(`The note can't be read: ${run.noteProblem}`);
  const { config, summary } = run;
  return {
    summary,
    mark,
    config,
    lnK: config === null ? null : Math.log(config.settings.outDim),
    columns: [...log.names],
    scores: log.evaluations,
    evaluations: await attempt('evaluations', () => evaluationsOf(run.path), []),
    checkpoints: await attempt('checkpoints', () => checkpointsOf(run.path), []),
    skipped: await attempt('list of skipped images', () => skippedOf(run.path), { count: 0, first: [] }),
    bad: { count: log.bad, firstLine: log.firstBad },
    problems,
  };
}
