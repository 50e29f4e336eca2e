/** What a run's folder tells beside its curves: checkpoints, evaluations, skipped images. Read when a page asks. */
import { readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { checkpointsPath, listCheckpoints, newestCheckpoint } from '../train/checkpoint-files.js';
import { configPath, evaluationsPath, readLines, skippedPath } from '../train/run-folder.js';
import type { CheckpointEntry, RunDetails } from './api.js';
import { markOf, type Run } from './run.js';

/** Skipped images that are listed one by one. */
const SKIPPED_LISTED = 200;
/** An evaluation's file is some kilobytes. */
const EVALUATION_LIMIT = 4 * 2 ** 20;

async function checkpointsOf(run: string): Promise<CheckpointEntry[]> {
  const newest = newestCheckpoint(run);
  const found: CheckpointEntry[] = [];
  for (const { step, folder } of listCheckpoints(run)) {
    try {
      const files = await readdir(folder);
      const sizes = await Promise.all(files.map(async (file) => (await stat(path.join(folder, file))).size));
      const { mtimeMs } = await stat(folder);
      const bytes = sizes.reduce((sum, size) => sum + size, 0);
      found.push({ step, path: folder, bytes, written: mtimeMs, isNewest: folder === newest });
    } catch {
      // pruned between the two calls
    }
  }
  return found.reverse();
}

async function evaluationsOf(run: string): Promise<RunDetails['evaluations']> {
  const folder = evaluationsPath(run);
  let names: string[];
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
        if ((await stat(full)).size > EVALUATION_LIMIT)
          throw new Error('it is far larger than an evaluation');
        const content: unknown = JSON.parse(await readFile(full, 'utf8'));
        if (typeof content !== 'object' || content === null) throw new Error('it holds no object');
        return { name, content: content as Record<string, unknown>, problem: null };
      } catch (error) {
        return { name, content: null, problem: `${file} can't be read: ${(error as Error).message}` };
      }
    }),
  );
}

function skippedOf(run: string): RunDetails['skipped'] {
  const lines = readLines(skippedPath(run));
  const first = lines
    .slice(0, SKIPPED_LISTED)
    .map((line) => ({ path: String(line['path']), reason: String(line['reason']) }));
  return { count: lines.length, first };
}

/** Changes when what `detailsOf` gives does, of which most is read from folders: only these are looked at. */
export async function detailsMarkOf(run: Run): Promise<string> {
  const { problem, bad, names, evaluations } = run.log();
  const files = [
    configPath(run.path),
    checkpointsPath(run.path),
    evaluationsPath(run.path),
    skippedPath(run.path),
  ];
  return JSON.stringify([...(await Promise.all(files.map(markOf))), problem, bad, names, evaluations.length]);
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
        'the curves are drawn without.',
    );
  }
  const { config, summary } = run;
  return {
    summary,
    mark,
    config,
    lnK: config === null ? null : Math.log(config.settings.outDim),
    columns: [...log.names],
    scores: log.evaluations,
    evaluations: await evaluationsOf(run.path),
    checkpoints: await attempt('checkpoints', () => checkpointsOf(run.path), []),
    skipped: await attempt('list of skipped images', () => skippedOf(run.path), { count: 0, first: [] }),
    bad: { count: log.bad, firstLine: log.firstBad },
    problems,
  };
}
