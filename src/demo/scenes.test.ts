import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import sharp from 'sharp';
import { DataError } from '../errors.js';
import { loadSprite, OBJECTS, type Sprite } from './objects.js';
import { drawScene, hueRotation, planScene, type ScenePlan } from './scene.js';
import { makeScenes, sceneRandom } from './scenes.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-scenes-'));
after(() => rmSync(folder, { recursive: true }));

const raw = (file: string) => sharp(file).raw().toBuffer({ resolveWithObject: true });

describe('drawScene', () => {
  let key: Sprite;
  before(async () => {
    key = await loadSprite(OBJECTS.find(({ name }) => name === 'key')!);
  });
  const plain: ScenePlan = {
    scale: 0.5,
    angle: 0,
    flip: false,
    hue: 0,
    place: [0, 0],
    grey: 0.8,
    noise: 0,
  };
  const half = () => 0.5;
  const box = (mask: Uint8Array, size: number) => {
    const [xs, ys] = [[] as number[], [] as number[]];
    mask.forEach((value, i) => value && (xs.push(i % size), ys.push(Math.floor(i / size))));
    return { left: Math.min(...xs), right: Math.max(...xs), top: Math.min(...ys), bottom: Math.max(...ys) };
  };

  it('puts the object where the plan says, as large as it says', () => {
    const upperLeft = box(drawScene(key, plain, 64, half).mask, 64);
    const lowerRight = box(drawScene(key, { ...plain, place: [1, 1] }, 64, half).mask, 64);
    // the longer side is half of 64 pixels; its antialiased edge may be on either side of the mask's threshold
    const longer = Math.max(upperLeft.right - upperLeft.left, upperLeft.bottom - upperLeft.top) + 1;
    assert.ok(longer >= 30 && longer <= 32, String(longer));
    assert.ok(upperLeft.left <= 1 && upperLeft.top <= 1, JSON.stringify(upperLeft));
    assert.ok(lowerRight.right >= 62 && lowerRight.bottom >= 62, JSON.stringify(lowerRight));
  });

  it('mirrors exactly when the place is mirrored too', () => {
    const left = drawScene(key, { ...plain, angle: 0.3, place: [0.2, 0.4] }, 48, half);
    const right = drawScene(key, { ...plain, angle: -0.3, place: [0.8, 0.4], flip: true }, 48, half);
    for (let y = 0; y < 48; y++) {
      for (let x = 0; x < 48; x++) {
        for (let c = 0; c < 3; c++) {
          const difference = left.rgb[3 * (y * 48 + x) + c]! - right.rgb[3 * (y * 48 + 47 - x) + c]!;
          assert.ok(Math.abs(difference) <= 1, `${x} ${y} ${c}: ${difference}`);
        }
      }
    }
  });

  it('leaves the background grey, and marks the object', () => {
    const { rgb, mask } = drawScene(key, { ...plain, place: [0.5, 0.5] }, 64, half);
    const grey = Math.round(0.8 * 255);
    assert.deepEqual([...rgb.subarray(0, 3)], [grey, grey, grey]);
    const inside = [...mask.keys()].filter((i) => mask[i] === 255);
    assert.ok(inside.length > 150 && inside.length < 64 * 64 * 0.25, String(inside.length));
    // the key is yellow: far less blue than red in nearly all of its pixels
    const yellow = inside.filter((i) => rgb[3 * i]! - rgb[3 * i + 2]! > 60);
    assert.ok(yellow.length > 0.9 * inside.length, `${yellow.length} of ${inside.length}`);
  });

  it('keeps greys and luma when it rotates the hue, and is the identity for a full turn', () => {
    for (const angle of [0, 1, 2.5, -2]) {
      const m = hueRotation(angle);
      for (let row = 0; row < 3; row++) {
        assert.ok(Math.abs(m[3 * row]! + m[3 * row + 1]! + m[3 * row + 2]! - 1) < 1e-9);
      }
    }
    const turned = hueRotation(2 * Math.PI);
    [1, 0, 0, 0, 1, 0, 0, 0, 1].forEach((value, i) => assert.ok(Math.abs(turned[i]! - value) < 1e-9));
  });
});

describe('planScene', () => {
  it('samples the whole of each range and nothing outside', () => {
    const plans = Array.from({ length: 2000 }, (_, i) => planScene(sceneRandom(3, i % 20, i)));
    const range = (values: number[]) => [Math.min(...values), Math.max(...values)] as [number, number];
    const near = (values: number[], low: number, high: number) => {
      const [least, most] = range(values);
      const slack = (high - low) * 0.01;
      assert.ok(least >= low && least < low + slack, `${least} for ${low}`);
      assert.ok(most <= high && most > high - slack, `${most} for ${high}`);
    };
    near(
      plans.map((plan) => plan.scale),
      0.45,
      0.85,
    );
    near(
      plans.map((plan) => (plan.angle * 180) / Math.PI),
      -25,
      25,
    );
    near(
      plans.map((plan) => plan.place[0]),
      0,
      1,
    );
    const flips = plans.filter((plan) => plan.flip).length;
    assert.ok(flips > 900 && flips < 1100, String(flips));
  });
});

describe('makeScenes', () => {
  const root = path.join(folder, 'set');
  const options = { output: root, seed: 5, trainPerObject: 3, valPerObject: 2, size: 32 };

  it('writes train, val and masks by object, and reuses them', async () => {
    const progress: number[] = [];
    const set = await makeScenes({ ...options, onProgress: (done) => progress.push(done) });
    assert.equal(set.reused, false);
    assert.deepEqual(
      progress,
      OBJECTS.map((_, i) => 5 * (i + 1)),
    );
    assert.equal(new Set(set.classes).size, 20);
    for (const name of set.classes) {
      assert.deepEqual(readdirSync(path.join(set.train, name)), ['000.png', '001.png', '002.png']);
      assert.deepEqual(readdirSync(path.join(set.val, name)), ['000.png', '001.png']);
      assert.deepEqual(readdirSync(path.join(set.masks, name)), ['000.png', '001.png']);
    }
    const image = await raw(path.join(set.val, 'dog', '000.png'));
    const maskFile = path.join(set.masks, 'dog', '000.png');
    const mask = await raw(maskFile);
    assert.equal((await sharp(maskFile).metadata()).channels, 1);
    assert.deepEqual([image.info.width, image.info.height, image.info.channels], [32, 32, 3]);
    assert.deepEqual([mask.info.width, mask.info.height], [32, 32]);
    assert.deepEqual(
      [...new Set(mask.data)].sort((a, b) => a - b),
      [0, 255],
    );
    const again = await makeScenes(options);
    assert.deepEqual(again, { ...set, reused: true });
  });

  it('gives the same pixels for the same seed, different ones for another, whatever else is made', async () => {
    const other = (name: string, seed: number, trainPerObject: number) =>
      makeScenes({ ...options, output: path.join(folder, name), seed, trainPerObject });
    const [same, different] = [await other('same', 5, 2), await other('different', 6, 3)];
    const bytes = async (set: string) => (await raw(path.join(set, 'car', '001.png'))).data;
    const expected = await bytes(path.join(root, 'train'));
    assert.ok(expected.equals(await bytes(same.train)));
    assert.ok(!expected.equals(await bytes(different.train)));
  });

  it('remakes an older set, and does not touch anything that is not a set', async () => {
    const output = path.join(folder, 'older');
    await makeScenes({ ...options, output, trainPerObject: 1 });
    const set = await makeScenes({ ...options, output, trainPerObject: 2 });
    assert.equal(set.reused, false);
    assert.equal(readdirSync(path.join(set.train, 'fish')).length, 2);

    const mine = path.join(folder, 'mine');
    mkdirSync(mine);
    writeFileSync(path.join(mine, 'holiday.txt'), 'keep me');
    await assert.rejects(makeScenes({ ...options, output: mine }), DataError);
    assert.equal(readFileSync(path.join(mine, 'holiday.txt'), 'utf8'), 'keep me');
  });

  it('leaves nothing behind when it is stopped', async () => {
    const controller = new AbortController();
    const output = path.join(folder, 'stopped');
    const making = makeScenes({
      ...options,
      output,
      signal: controller.signal,
      onProgress: () => controller.abort(),
    });
    await assert.rejects(making, { name: 'AbortError' });
    assert.ok(!existsSync(output));
    assert.deepEqual(
      readdirSync(folder).filter((name) => name.startsWith('stopped')),
      [],
    );
  });
});
