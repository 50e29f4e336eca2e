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
import { drawSprite, hueRotation, type Placement, rotatedBox } from './canvas.js';
import { KINDS, loadSprite, type Sprite } from './objects.js';
import { sceneRandom } from './random.js';
import { type Cast, drawScene, planScene, SCALES, type ScenePlan } from './scene.js';
import { makeScenes } from './scenes.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-scenes-'));
after(() => rmSync(folder, { recursive: true }));

const raw = (file: string) => sharp(file).raw().toBuffer({ resolveWithObject: true });

const size = 64;
const half = () => 0.5;

const box = (mask: Uint8Array) => {
  const [xs, ys] = [[] as number[], [] as number[]];
  mask.forEach((value, i) => value && (xs.push(i % size), ys.push(Math.floor(i / size))));
  return { left: Math.min(...xs), right: Math.max(...xs), top: Math.min(...ys), bottom: Math.max(...ys) };
};

describe('drawSprite', () => {
  let car: Sprite;
  before(async () => {
    car = await loadSprite({ name: 'car', code: '1f697' });
  });
  const plain = { scale: 0.5, angle: 0, flip: false, squeeze: 1, hue: 0, x: 0.5, y: 0.5, blur: 0 };
  const draw = (placement: Partial<Placement>) => {
    const rgb = new Float32Array(3 * size * size).fill(0.5); // (size, size, 3)
    const mask = new Uint8Array(size * size);
    drawSprite(
      { size, rgb },
      car,
      { ...plain, ...placement },
      (i, alpha) => (mask[i] = alpha >= 0.5 ? 1 : 0),
    );
    return { rgb, mask };
  };

  it('puts the drawing where it is placed, as large as it is asked for', () => {
    for (const [x, y] of [
      [0.5, 0.5],
      [0.3, 0.7],
    ] as const) {
      const { left, right, top, bottom } = box(draw({ x, y }).mask);
      // the longer side is half of 64 pixels; its antialiased edge may be on either side of the mask's threshold
      const longer = Math.max(right - left, bottom - top) + 1;
      assert.ok(longer >= 30 && longer <= 32, String(longer));
      assert.ok(Math.abs((left + right + 1) / 2 - x * size) <= 1);
      assert.ok(Math.abs((top + bottom + 1) / 2 - y * size) <= 1);
    }
  });

  it('mirrors exactly when the place is mirrored too', () => {
    const left = draw({ angle: 0.3, x: 0.4 }).rgb;
    const right = draw({ angle: -0.3, x: 0.6, flip: true }).rgb;
    for (let y = 0; y < size; y++) {
      for (let x = 0; x < size; x++) {
        for (let c = 0; c < 3; c++) {
          const difference = left[3 * (y * size + x) + c]! - right[3 * (y * size + size - 1 - x) + c]!;
          assert.ok(Math.abs(difference) <= 1e-4, `${x} ${y} ${c}: ${difference}`);
        }
      }
    }
  });

  it('leaves everything else as it was, cuts what is outside, and spreads what is out of focus', () => {
    const { rgb, mask } = draw({ x: 0, y: 0 });
    assert.ok(mask[0] === 1 || mask.includes(1));
    assert.equal(rgb[3 * (40 * size + 40)], 0.5);
    const touched = (blur: number) => draw({ blur }).rgb.filter((value) => value !== 0.5).length;
    assert.ok(touched(3) > 1.1 * touched(0), `${touched(3)} ${touched(0)}`);
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

describe('planScene and drawScene', () => {
  let cast: Cast;
  before(async () => {
    const load = (code: string) => loadSprite({ name: code, code });
    const rock = await load('1faa8');
    const drawings = [await load('1f697'), await load('1f699')];
    cast = { drawings, stands: true, hues: 180, clutter: [rock, await load('1f333')], foreground: [rock] };
  });

  it('samples the whole of each range and nothing outside', () => {
    const plans = Array.from({ length: 2000 }, (_, i) => planScene(cast, sceneRandom(3, i % 20, i)));
    const near = (values: number[], low: number, high: number) => {
      const [least, most] = [Math.min(...values), Math.max(...values)];
      const slack = (high - low) * 0.01;
      assert.ok(least >= low && least < low + slack, `${least} for ${low}`);
      assert.ok(most <= high && most > high - slack, `${most} for ${high}`);
    };
    near(
      plans.map(({ object }) => object.scale),
      ...SCALES,
    );
    near(
      plans.map(({ object }) => (object.hue * 180) / Math.PI),
      -180,
      180,
    );
    const share = (is: (plan: ScenePlan) => boolean) => plans.filter(is).length / plans.length;
    for (const [low, high, is] of [
      [0.45, 0.55, (plan) => plan.object.flip],
      [0.45, 0.55, (plan) => plan.object.sprite === cast.drawings[0]],
      [0.35, 0.45, (plan) => plan.cover !== null],
      [0.6, 0.7, (plan) => plan.background.horizon > 0 && plan.background.horizon < 1],
    ] as [number, number, (plan: ScenePlan) => boolean][]) {
      assert.ok(share(is) > low && share(is) < high, `${share(is)} for ${low} to ${high}`);
    }
  });

  it('keeps most of the object inside the scene, and what covers it out of the mask', () => {
    let covered = 0;
    let cut = 0;
    for (let i = 0; i < 200; i++) {
      const random = sceneRandom(4, 0, i);
      const plan = planScene(cast, random);
      const { mask, rgb } = drawScene(plan, size, random);
      const bare = drawScene({ ...plan, cover: null }, size, half).mask;
      const [width, height] = rotatedBox(plan.object.sprite, plan.object);
      const { left, right, top, bottom } = box(bare);
      assert.ok(right - left + 1 <= width * size + 2 && bottom - top + 1 <= height * size + 2);
      const outside = (centre: number, length: number) =>
        Math.max(0, length / 2 - centre, centre + length / 2 - 1) / length;
      cut = Math.max(cut, outside(plan.object.x, width), outside(plan.object.y, height));
      assert.equal(rgb.length, 3 * size * size);
      const count = (of: Uint8Array) => of.filter(Boolean).length;
      assert.ok(count(mask) <= count(bare));
      assert.ok(count(mask) > 0.4 * count(bare), `${count(mask)} of ${count(bare)} are seen`);
      if (count(mask) < count(bare)) covered++;
    }
    assert.ok(cut > 0.2 && cut <= 0.25 + 1e-9, `up to ${cut} of the object's side is cut off`);
    assert.ok(covered > 40 && covered < 120, String(covered));
  });
});

describe('makeScenes', () => {
  const root = path.join(folder, 'set');
  const options = { output: root, seed: 5, trainPerKind: 3, valPerKind: 2, size: 32 };

  it('writes train, val and masks by kind, and reuses them', async () => {
    const progress: number[] = [];
    const set = await makeScenes({ ...options, onProgress: (done) => progress.push(done) });
    assert.equal(set.reused, false);
    assert.deepEqual(
      progress,
      KINDS.map((_, i) => 5 * (i + 1)),
    );
    assert.equal(new Set(set.classes).size, 10);
    for (const name of set.classes) {
      assert.deepEqual(readdirSync(path.join(set.train, name)), ['000.png', '001.png', '002.png']);
      assert.deepEqual(readdirSync(path.join(set.val, name)), ['000.png', '001.png']);
      assert.deepEqual(readdirSync(path.join(set.masks, name)), ['000.png', '001.png']);
    }
    const image = await raw(path.join(set.val, 'cat', '000.png'));
    const maskFile = path.join(set.masks, 'cat', '000.png');
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
    const other = (name: string, seed: number, trainPerKind: number) =>
      makeScenes({ ...options, output: path.join(folder, name), seed, trainPerKind });
    const [same, different] = [await other('same', 5, 2), await other('different', 6, 3)];
    const bytes = async (set: string) => (await raw(path.join(set, 'car', '001.png'))).data;
    const expected = await bytes(path.join(root, 'train'));
    assert.ok(expected.equals(await bytes(same.train)));
    assert.ok(!expected.equals(await bytes(different.train)));
  });

  it('remakes an older set, and does not touch anything that is not a set', async () => {
    const output = path.join(folder, 'older');
    await makeScenes({ ...options, output, trainPerKind: 1 });
    const set = await makeScenes({ ...options, output, trainPerKind: 2 });
    assert.equal(set.reused, false);
    assert.equal(readdirSync(path.join(set.train, 'parrot')).length, 2);

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
