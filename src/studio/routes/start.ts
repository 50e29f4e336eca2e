/** The section Start: inspects images, plans a training, tries it and begins it; and stops or resumes a run. */
import { spawn } from 'node:child_process';
import { closeSync, existsSync, fstatSync, readdirSync, writeSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { DataError } from '../../errors.js';
import { readLock, signalHolder } from '../../files/folder-lock.js';
import { makeFolder, openToWrite, readEnd, removeWithin } from '../../files/guarded.js';
import { readBelow } from '../../files/read-below.js';
import { readOverrides } from '../../train/config.js';
import { flagOf } from '../../run/settings.js';
import { isRunFolder } from '../../run/run-folder.js';
import type { StartRequest } from '../../plain/studio-api/index.js';
import { type GivenFolders, StudioError } from '../files.js';
import { type Routes, route } from './route.js';

const bin = fileURLToPath(new URL('../../../bin/dino.js', import.meta.url));
/** Takes what a training that was begun here would write to a terminal. */
const LOG = 'studio.log';
/** Bytes of it that are read when the training didn't begin. */
const LOG_END = 2 ** 16;
/** A training that is refused ends within this time; loading libtorch takes a second of it. */
const BEGIN_MS = 20_000;

const name = z.string().min(1).max(4096);
const startRequest = z.object({
  images: name,
  preset: z.enum(['auto', 'paper']),
  overrides: z.record(z.string().max(60), z.string().max(4096)),
});

/** Settings that name files. */
const PATHS = ['init', 'resumeFrom', 'knnTrain', 'knnVal'] as const;

/** A request whose paths are all under the given folders, links followed. @throws ConfigError for settings that are wrong. */
async function checked(
  folders: GivenFolders,
  { images, preset, overrides }: StartRequest,
): Promise<StartRequest> {
  const settings = readOverrides({ flags: overrides });
  const inside: Record<string, string> = { ...overrides };
  for (const setting of PATHS) {
    const given = settings[setting];
    if (given === undefined) continue;
    for (const key of Object.keys(inside)) if (flagOf(key) === flagOf(setting)) delete inside[key];
    inside[setting] = await folders.resolve(given);
  }
  const watched = settings.watchImages;
  if (watched !== undefined) {
    for (const key of Object.keys(inside)) if (flagOf(key) === flagOf('watchImages')) delete inside[key];
    const files = watched.map(async (name) => (['none', 'auto'].includes(name) ? name : folders.file(name)));
    inside['watchImages'] = (await Promise.all(files)).join('\n');
  }
  return { images: await folders.resolve(images), preset, overrides: inside };
}

/** The end of what a log has got since it was `from` bytes long, as much as a page shows. */
function endOf(log: string, run: string, from: number): string {
  return readEnd(log, LOG_END, { within: run, from }).trim().split('\n').slice(-12).join('\n');
}

/**
 * Starts `dino train` as a process that outlives the studio. Resolves once it holds the run's lock. Its output is added to
 * the run's log, which says why an earlier training ended.
 * @throws StudioError with the end of its log when it ends without beginning.
 */
async function startTraining(
  folders: GivenFolders,
  args: readonly string[],
  run: string,
  begin: 'new' | 'resumed',
): Promise<void> {
  const log = path.join(run, LOG);
  const output = openToWrite(log, { within: run });
  // on a line of its own: a process that was killed may have left half a line
  if (begin === 'resumed') writeSync(output, `\n--- resumed ${new Date().toISOString()} ---\n`);
  const { size: before } = fstatSync(output);
  const child = spawn(process.execPath, [bin, 'train', ...args], {
    detached: true,
    stdio: ['ignore', output, output],
    env: { ...process.env, ...readBelow(folders.real), NODE_TEST_CONTEXT: undefined },
  });
  closeSync(output);
  child.unref();
  let code: number | null | undefined;
  child.once('exit', (status) => (code = status));
  child.once('error', () => (code = -1));
  for (const limit = Date.now() + BEGIN_MS; Date.now() < limit && code === undefined; await sleep(50))
    if (isRunFolder(run) && readLock(run)?.isAlive === true) return;
  if (code === undefined || code === 0) return;
  throw new StudioError(422, endOf(log, run, before), 'TRAIN');
}

/** Sends Ctrl-C to the process that trains a run. @throws StudioError 409 that says why not: a lock may name any process. */
function interrupt(run: string): void {
  try {
    signalHolder(run, 'SIGINT'); // it finishes its step and writes a checkpoint
  } catch (error) {
    if (error instanceof DataError)
      throw new StudioError(409, `The run can't be stopped from here. ${error.message}`);
    throw error;
  }
}

export const start: Routes = (app, studio) => {
  const { folders, jobs, tasks, runs } = studio;

  route(app, 'POST /api/start/inspect', { body: z.object({ images: name }) }, async ({ body }) => {
    const images = await folders.resolve(body.images);
    return tasks.start('start-inspect', `Looking at ${body.images}`, { images });
  });

  route(app, 'POST /api/start/plan', { body: startRequest }, async ({ body, signal }) =>
    jobs.run('start-plan', await checked(folders, body), { signal }),
  );

  const cropsRequest = startRequest.extend({
    seed: z
      .number()
      .int()
      .min(0)
      .max(2 ** 31),
  });
  route(app, 'POST /api/start/crops', { body: cropsRequest }, async ({ body, signal }) =>
    jobs.run('start-crops', { ...(await checked(folders, body)), seed: body.seed }, { signal }),
  );

  route(app, 'POST /api/start/trial', { body: startRequest }, async ({ body }) =>
    tasks.start('start-trial', 'Trial steps', await checked(folders, body)),
  );

  route(
    app,
    'POST /api/start/train',
    { body: startRequest.extend({ output: name }) },
    async ({ body, signal }) => {
      const request = await checked(folders, body);
      const { images, preset, overrides } = request;
      const output = await folders.forWriting(body.output);
      if (isRunFolder(output))
        throw new StudioError(409, `${output} already holds a run: choose another name.`, 'TAKEN');
      if (existsSync(output) && readdirSync(await folders.folder(output)).length > 0)
        throw new StudioError(409, `${output} is not empty: choose another name.`, 'TAKEN');
      // also refuses images that links or a list lead to outside
      await jobs.run('start-plan', request, { signal });
      makeFolder(output, { within: output });
      const flags = Object.entries(overrides).map(([setting, value]) => `${flagOf(setting)}=${value}`);
      try {
        const args = [images, `--output=${output}`, `--preset=${preset}`, ...flags];
        await startTraining(folders, args, output, 'new');
      } catch (error) {
        // a refused training leaves nothing behind
        if (!isRunFolder(output)) removeWithin(path.join(output, LOG), { within: output });
        throw error;
      }
      await runs.refresh();
      return { run: runs.all().find((run) => run.path === output)?.id ?? '' };
    },
  );

  route(app, 'POST /api/runs/:run/stop', {}, async ({ params }) => {
    const run = runs.get(params.run);
    interrupt(run.path);
    await run.look();
    return run.summary;
  });

  route(app, 'POST /api/runs/:run/resume', {}, async ({ params }) => {
    const run = runs.get(params.run);
    if (readLock(run.path)?.isAlive === true)
      throw new StudioError(409, 'A process is already training this run.');
    // resolved as the training does; everything else that it reads is restricted to the folders there
    const images = run.config?.images;
    if (images !== undefined && existsSync(images)) await folders.resolve(path.resolve(images));
    await startTraining(folders, [`--resume=${run.path}`], run.path, 'resumed');
    await run.look();
    return run.summary;
  });
};
