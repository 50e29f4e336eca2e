/** Watched images: what is saved, that training is unaffected, and what can go wrong. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import sharp from 'sharp';
import { ConfigError, DataError } from '../errors.js';
import { makeImageFolder } from '../testing/image-folder.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { loadModel } from '../model.js';
import { listCheckpoints, newestCheckpoint } from '../run/checkpoint-files.js';
import { checkSettings } from './config.js';
import type { TrainSettings } from '../run/settings.js';
import type { TrainEvent } from './events.js';
import { listWatched, readFrame } from '../run/film-folder.js';
import { resolveSettings } from './presets.js';
import { train } from './train.js';

let folder = '';
let images = '';
let wide = '';
let tall = '';
let runs = 0;
const newRun = (): string => path.join(folder, `run-${runs++}`);

before(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'dino-film-'));
  images = path.join(folder, 'images');
  await makeImageFolder(images, { classes: 2, perClass: 9 });
  const picture = sharp(path.join(images, 'class-0', 'image-0.png'));
  wide = path.join(folder, 'a wide: one.png');
  tall = path.join(folder, 'tall.jpg');
  await picture.clone().resize(60, 40, { fit: 'fill' }).toFile(wide);
  await picture.clone().resize(40, 80, { fit: 'fill' }).toFile(tall);
});
after(() => rmSync(folder, { recursive: true, force: true }));

const hashOf = (file: string): string => createHash('sha256').update(readFileSync(file)).digest('hex');

/** Hashes of the newest checkpoint's files. */
function checkpointHashes(run: string): Record<string, string> {
  const newest = newestCheckpoint(run) ?? assert.fail('no checkpoint');
  return Object.fromEntries(readdirSync(newest).map((file) => [file, hashOf(path.join(newest, file))]));
}

/** Hashes of everything under RUN/watch. */
function filmHashes(run: string): Record<string, string> {
  const hashes: Record<string, string> = {};
  for (const { name, folder } of listWatched(run))
    for (const file of readdirSync(folder)) hashes[`${name}/${file}`] = hashOf(path.join(folder, file));
  return hashes;
}

async function trained(run: string, settings: Partial<TrainSettings>, events: TrainEvent[] = []) {
  await train({
    images,
    output: run,
    settings: { ...TINY_SETTINGS, ...settings },
    onEvent: (event) => events.push(event),
  });
  return run;
}

test('the attention of every checkpoint is saved, and training is the same to the bit', async () => {
  const plain = await trained(newRun(), {});
  const run = await trained(newRun(), { watchImages: [wide, tall], saveEverySteps: 2 });
  assert.ok(!existsSync(path.join(plain, 'watch')));
  assert.deepEqual(checkpointHashes(run), checkpointHashes(plain));
  const watched = listWatched(run);
  // 3 steps per epoch, 3 epochs, and also every second step; 0 is the initial state
  assert.deepEqual(
    watched.map(({ name, steps }) => [name.replace(/-[0-9a-f]{8}$/, ''), steps]),
    [
      ['a-wide-one', [0, 2, 3, 4, 6, 8, 9]],
      ['tall', [0, 2, 3, 4, 6, 8, 9]],
    ],
  );
  const [first, second] = watched;
  assert.ok(first !== undefined && second !== undefined);
  // crops of 32 times 480/224 make a shorter side of 69, in patches of 8
  assert.deepEqual([first.rows, first.columns, second.rows, second.columns], [8, 12, 17, 8]);
  assert.equal(first.source, wide);

  for (const { step, folder: checkpoint } of listCheckpoints(run)) {
    using model = loadModel(checkpoint, { device: 'cpu' });
    for (const image of watched) {
      const expected = await model.attention(image.source);
      const frame = readFrame(image, step);
      assert.equal(frame.heads, TINY_SETTINGS.numHeads);
      assert.deepEqual(frame.maps, expected.maps, `${image.name} after ${step} steps`);
      frame.mean.forEach((value, i) => assert.ok(Math.abs(value - expected.mean[i]!) < 1e-6));
      const picture = await sharp(image.picture).raw().toBuffer();
      assert.ok(Buffer.from(expected.image).equals(picture), 'the picture is what the model saw');
    }
  }
  assert.notDeepEqual(readFrame(first, 0).maps, readFrame(first, 9).maps);
});

test('a stopped run continues with its images although the originals are gone', async () => {
  const original = path.join(folder, 'vanishing.png');
  cpSync(wide, original);
  const whole = await trained(newRun(), { watchImages: [original] });
  const run = newRun();
  const controller = new AbortController();
  await train({
    images,
    output: run,
    settings: { ...TINY_SETTINGS, watchImages: [original] },
    signal: controller.signal,
    onEvent: (event) => {
      if (event.type === 'step' && event.step === 4) controller.abort();
    },
  });
  rmSync(original);
  const [image] = listWatched(run);
  assert.ok(image !== undefined);
  // a later step's frame, as a killed run may leave it, and half of a file
  writeFileSync(path.join(image.folder, 'step-00000007.npy'), 'later');
  writeFileSync(path.join(image.folder, 'step-00000005.npy.partial-1'), 'half');
  await train({ output: run, resume: true });
  const frames = filmHashes(run);
  const stopped = `${image.name}/step-00000004.npy`;
  assert.ok(stopped in frames, 'the checkpoint written on stopping has its frame');
  delete frames[stopped];
  assert.deepEqual(frames, filmHashes(whole));
  assert.deepEqual(checkpointHashes(run), checkpointHashes(whole));
});

test('a resumed run can watch more images', async () => {
  const run = newRun();
  const controller = new AbortController();
  await train({
    images,
    output: run,
    settings: { ...TINY_SETTINGS, watchImages: [wide] },
    signal: controller.signal,
    onEvent: (event) => {
      if (event.type === 'step' && event.step === 3) controller.abort();
    },
  });
  const settings = { ...TINY_SETTINGS, watchImages: [tall] };
  await train({ output: run, resume: true, settings });
  assert.deepEqual(
    listWatched(run).map(({ steps }) => steps),
    [
      [0, 3, 6, 9],
      [3, 6, 9],
    ],
  );
});

test('auto picks a few images by the seed, and skips those that cannot be read', async () => {
  const list = path.join(folder, 'list.txt');
  writeFileSync(path.join(folder, 'broken.jpg'), 'no image');
  const good = Array.from({ length: 5 }, (_, i) => path.join(images, 'class-0', `image-${i}.png`));
  writeFileSync(
    list,
    [...good, path.join(folder, 'broken.jpg'), path.join(folder, 'missing.png')].join('\n'),
  );
  const settings = { ...TINY_SETTINGS, epochs: 1, warmupTeacherTempEpochs: 0, maxBadShare: 1 };
  const picked = async (seed: number): Promise<string[]> => {
    const run = newRun();
    await train({ images: list, output: run, settings: { ...settings, seed, watchImages: ['auto'] } });
    return listWatched(run).map(({ source }) => source);
  };
  const first = await picked(1);
  assert.equal(first.length, 4);
  assert.ok(first.every((source) => good.includes(source)));
  assert.deepEqual(await picked(1), first);
  const others = await Promise.all([2, 3, 4].map(picked));
  assert.ok(others.some((other) => other.join() !== first.join()));
});

test('the presets watch a few images if the backbone has attention', () => {
  const facts = { device: 'cpu', cores: 2, memoryGiB: 8, images: 500, width: 64, height: 64 } as const;
  const vit = resolveSettings({ facts, flags: { arch: 'vit' } });
  assert.deepEqual(vit.settings.watchImages, ['auto']);
  const flags = { watchImages: 'none' };
  assert.deepEqual(resolveSettings({ facts, flags }).settings.watchImages, ['none']);
  const resnet = resolveSettings({ facts, flags: { arch: 'resnet18' } });
  assert.equal(resnet.settings.watchImages, undefined);
});

test('images that cannot be read are named before anything starts', async () => {
  const broken = path.join(folder, 'broken.png');
  writeFileSync(broken, readFileSync(wide).subarray(0, 60));
  const missing = path.join(folder, 'nowhere.jpg');
  const run = newRun();
  await assert.rejects(trained(run, { watchImages: [wide, broken, missing] }), (error) => {
    assert.ok(error instanceof DataError);
    assert.match(error.message, /broken\.png: damaged PNG/);
    assert.match(error.message, /nowhere\.jpg: no such file/);
    return true;
  });
  assert.ok(!existsSync(path.join(run, 'config.json')), 'the same command works once the images are right');
});

test('a backbone without attention is refused', () => {
  const settings = { ...TINY_SETTINGS, arch: 'resnet18', watchImages: [wide] };
  assert.throws(
    () => checkSettings(settings),
    (error) => error instanceof ConfigError && /resnet18 has no attention/.test(error.message),
  );
  assert.throws(
    () => checkSettings({ ...TINY_SETTINGS, watchImages: ['none', wide] }),
    /none can't be combined/,
  );
});

test('a film that cannot be written, or is damaged, does not stop training', async () => {
  const run = newRun();
  mkdirSync(run);
  writeFileSync(path.join(run, 'watch'), 'a file in the way');
  const events: TrainEvent[] = [];
  await trained(run, { epochs: 1, warmupTeacherTempEpochs: 0, watchImages: [wide] }, events);
  const warnings = events.flatMap((event) => (event.type === 'warning' ? [event.message] : []));
  assert.match(warnings.join('\n'), /watch/);
  assert.deepEqual(listWatched(run), []);

  const other = await trained(newRun(), { epochs: 1, warmupTeacherTempEpochs: 0, watchImages: [wide] });
  const [image] = listWatched(other);
  assert.ok(image !== undefined);
  writeFileSync(path.join(image.folder, 'step-00000003.npy'), 'short');
  assert.throws(() => readFrame(image, 3), /step-00000003\.npy is damaged/);
  assert.throws(() => readFrame(image, 2), /no attention for step 2/);
  assert.equal(readFrame(image, 0).step, 0);
  writeFileSync(path.join(image.folder, 'image.json'), '{');
  assert.deepEqual(listWatched(other), []);
});
