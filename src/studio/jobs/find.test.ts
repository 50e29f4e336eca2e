/** The job behind the section Find, called as the studio's worker calls it. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, it } from 'node:test';
import { buildIndex } from '../../explore/build-index.js';
import { loadModel } from '../../model.js';
import { findGeneration } from '../../testing/find-generation.js';
import { writeColourFolders, writeTinyRun } from '../../testing/saved-run.js';
import { run as ask } from './find.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-find-job-'));
const images = path.join(folder, 'images');
const index = path.join(folder, 'photos.index');
const signal = new AbortController().signal;
const { TMPDIR } = process.env;

before(async () => {
  await writeColourFolders(images, 4);
  const run = path.join(folder, 'run');
  writeTinyRun(run).dispose();
  using model = loadModel(run);
  await buildIndex(model, images, { output: index, numWorkers: 0, whiten: 'none' });
  process.env['TMPDIR'] = path.join(folder, 'none'); // where nothing can be written
});
after(() => {
  if (TMPDIR === undefined) delete process.env['TMPDIR'];
  else process.env['TMPDIR'] = TMPDIR;
  rmSync(folder, { recursive: true });
});

const search = (image: Uint8Array, more: object = {}) =>
  ask(
    {
      index,
      ask: { generation: findGeneration(index), kind: 'search', plus: [], minus: [], top: 3, image, ...more },
    },
    { signal, progress: () => undefined },
  );

it('searches by an image that was dropped, or by a part of it, without writing it anywhere', async () => {
  const image = readFileSync(path.join(images, 'green', 'green 1.png'));
  for (const more of [{}, { region: [0, 0, 1, 1] }]) {
    const answer = await search(image, more);
    assert.ok(answer.kind === 'images');
    assert.equal(answer.images.length, 3);
    assert.equal(answer.images[0]!.name, 'green/green 1.png');
  }
});

it('says what is wrong with such an image', async () => {
  const damaged = readFileSync(path.join(images, 'red', 'red 1.png')).subarray(0, -20);
  for (const more of [{}, { region: [0, 0, 1, 1] }])
    await assert.rejects(
      search(damaged, more),
      /^DataError: (the image|Can't read the image of 128 bytes): damaged PNG/,
    );
});

it('writes nothing for rows of another generation, also when it changed after they were read', async () => {
  const target = path.join(folder, 'list.txt');
  const groups = new Map([['', [path.join(images, 'red', 'red 1.png')]]]);
  const put = (generation: number) =>
    ask(
      { index, ask: { kind: 'put', generation, how: 'list', target, groups } },
      { signal, progress: () => undefined },
    );
  const now = findGeneration(index);
  await assert.rejects(put(now + 1), {
    status: 409,
    code: 'CHANGED',
    message: /brought up to date.*open it again/,
  });
  assert.ok(!existsSync(target));
  assert.deepEqual(await put(now), { kind: 'exported', count: 1 });
});
