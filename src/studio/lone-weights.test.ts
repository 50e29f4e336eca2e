/** Files of weights in the studio: what they leave open is shown and can be filled in, and no part of them lies elsewhere. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, before, describe, it } from 'node:test';
import { writeColourFolders, writeTinyRun } from '../testing/saved-run.js';
import { readSafetensors, writeSafetensors } from '../weights/safetensors.js';
import type { LookFacts, LookModels, LookUpload, Task } from '../plain/studio-api/index.js';
import { type RunningStudio, startStudio } from './index.js';
import { unpackArrays } from '../plain/packed.js';

const top = mkdtempSync(path.join(os.tmpdir(), 'dino-lone-weights-'));
const given = path.join(top, 'given');
const images = path.join(given, 'images');
const lone = path.join(given, 'lone.safetensors');
const sharded = path.join(given, 'sharded');
let studio: RunningStudio;
before(async () => {
  mkdirSync(sharded, { recursive: true });
  await writeColourFolders(images, 1);
  const run = path.join(top, 'run');
  writeTinyRun(run).dispose();
  const { tensors } = readSafetensors(path.join(run, 'checkpoints', 'step-00000012', 'teacher.safetensors'));
  writeSafetensors(lone, tensors);
  writeSafetensors(path.join(top, 'elsewhere.safetensors'), tensors);
  const weightMap = Object.fromEntries([...tensors.keys()].map((name) => [name, 'part.safetensors']));
  writeFileSync(
    path.join(sharded, 'model.safetensors.index.json'),
    JSON.stringify({ weight_map: weightMap }),
  );
  studio = await startStudio({ folders: [given], port: 0 });
});
after(async () => {
  await studio.close();
  rmSync(top, { recursive: true });
});

const send = (route: string, body?: unknown, to = studio): Promise<Response> =>
  fetch(`${to.origin}${route}`, {
    method: body === undefined ? 'GET' : 'POST',
    headers: { authorization: `Bearer ${to.token}`, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
const look = (weights: string, more: object = {}): Promise<Response> =>
  send('/api/look', {
    ...{ weights, checkpointKey: 'teacher', side: null },
    images: [{ path: path.join(images, 'red', 'red 0.png') }],
    ...more,
  });
const factsOf = async (response: Response): Promise<LookFacts> => {
  assert.equal(response.status, 200);
  return unpackArrays(new Uint8Array(await response.arrayBuffer())).facts as LookFacts;
};

it('look says that heads are guessed, and takes their number', async () => {
  const guessed = await factsOf(await look(lone));
  assert.equal(guessed.images[0]!.heads, 1);
  assert.match(guessed.remarks.join(), /doesn't say how many attention heads/);
  const told = await factsOf(await look(lone, { numHeads: 3 }));
  assert.equal(told.images[0]!.heads, 3);
  assert.deepEqual(told.remarks, []);
});

it('an index is not made with guessed heads', async () => {
  const make = async (more: object): Promise<Task> => {
    const output = path.join(given, 'an.index');
    const { id } = (await (
      await send('/api/find/index', { weights: lone, images, output, ...more })
    ).json()) as Task;
    for (;;) {
      const task = ((await (await send('/api/tasks')).json()) as Task[]).find((one) => one.id === id)!;
      if (task.state !== 'running') return task;
      await sleep(50);
    }
  };
  const guessed = await make({});
  assert.equal(guessed.state, 'failed');
  assert.match(guessed.error ?? '', /how many attention heads its model has.*fill in the attention heads/);
  assert.equal((await make({ numHeads: 3 })).state, 'done');
});

it('no part of weights in several files lies outside the folders', async () => {
  const part = path.join(sharded, 'part.safetensors');
  symlinkSync(path.join(top, 'elsewhere.safetensors'), part);
  assert.equal((await look(sharded)).status, 403);
  const index = { weights: sharded, images, output: path.join(given, 'another.index') };
  assert.equal((await send('/api/find/index', index)).status, 403);
  rmSync(part);
  writeSafetensors(part, readSafetensors(lone).tensors);
  assert.equal((await factsOf(await look(sharded, { numHeads: 3 }))).images[0]!.heads, 3);
});

describe('weights beside very many files and folders', () => {
  const cache = path.join(top, 'cache');
  const many = path.join(top, 'many');
  const flat = path.join(many, 'flat');
  const snapshot = path.join('models--some--model', 'snapshots', 'main');
  let other: RunningStudio;
  before(async () => {
    const blobs = path.join(cache, 'models--some--model', 'blobs');
    for (const made of [blobs, path.join(cache, snapshot), flat, path.join(many, 'weights')])
      mkdirSync(made, { recursive: true });
    for (let i = 0; i <= 20_000; i++) writeFileSync(path.join(flat, `${i}.image`), '');
    writeFileSync(path.join(many, 'weights', 'own.pth'), '');
    // as Hugging Face's cache keeps them
    writeSafetensors(path.join(blobs, '0123'), readSafetensors(lone).tensors);
    const links = { 'model.safetensors': blobs + '/0123', 'away.safetensors': lone, 'gone.pth': '/no', 'folder.bin': blobs }; // prettier-ignore
    for (const [name, to] of Object.entries(links)) symlinkSync(to, path.join(cache, snapshot, name));
    other = await startStudio({ folders: [many, cache], port: 0 });
  });
  after(() => other.close());
  const models = async (): Promise<LookModels> =>
    (await (await send('/api/look/models', undefined, other)).json()) as LookModels;

  it('are found beside a large flat folder, and behind a link into the folders', async () => {
    const { models: found, isWhole } = await models();
    const linked = path.join(snapshot, 'model.safetensors');
    assert.deepEqual(
      found.map(({ name }) => name),
      [path.join('weights', 'own.pth'), linked],
    );
    assert.ok(isWhole);
    const image = readFileSync(path.join(images, 'red', 'red 0.png'));
    const upload = await fetch(`${other.origin}/api/upload/look`, {
      ...{ method: 'POST', body: image, headers: { authorization: `Bearer ${other.token}` } },
    });
    const { id } = (await upload.json()) as LookUpload;
    const body = {
      ...{ weights: path.join(cache, linked), checkpointKey: 'teacher', numHeads: 3, side: null },
      images: [{ upload: id }],
    };
    assert.equal((await factsOf(await send('/api/look', body, other))).images[0]!.heads, 3);
  });

  it('are found as far as folders were looked through, and the answer says that not all were', async () => {
    for (let i = 0; i < 2000; i++) mkdirSync(path.join(flat, `class-${i}`));
    const { models: found, isWhole } = await models();
    assert.equal(found.length, 2, 'of each given folder');
    assert.ok(!isWhole);
  });
});
