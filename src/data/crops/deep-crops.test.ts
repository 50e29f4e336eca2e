/** Crops of 16-bit images of any channels: next to the 8-bit crops, which equal Pillow's, and to formulas. */
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { findAddon } from '../../native-addons.js';
import { centerCropWindow, resizedShape } from '../../plain/eval-geometry.js';
import { fixtureImage } from '../../testing/fixture-image.js';
import { Jitter, type CropParams } from './augmentation.js';
import { type DeepImage, renderCrops, renderDeepCrops, resizeDeepImage, resizeImage } from './crops.js';

const plain: CropParams = {
  ...{ x: 0, y: 0, width: 1, height: 1, flip: false, jitter: null },
  ...{ grayscale: false, blurRadius: 0, solarizeThreshold: null },
};
const [WIDTH, HEIGHT] = [61, 47];
// neither black nor white, beyond which Pillow clips between its two passes
const bytes = fixtureImage(WIDTH, HEIGHT, 3).map((value) => 72 + (value >> 1));
const image: DeepImage = {
  ...{ width: WIDTH, height: HEIGHT, channels: 3 },
  data: Uint16Array.from(bytes, (value) => 257 * value),
};

function deep(source: DeepImage, crop: CropParams, size: { width: number; height: number }): Uint16Array {
  const out = new Uint16Array(size.width * size.height * source.channels);
  renderDeepCrops(source, [crop], [{ ...size, offset: 0 }], new Uint8Array(out.buffer));
  return out;
}

const worst = (found: ArrayLike<number>, expected: ArrayLike<number>): number =>
  Array.from(found).reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i]!)), 0);

for (const [name, change, tolerance] of [
  ['resized', {}, 1.6],
  ['mirrored', { flip: true }, 1.6],
  ['blurred', { blurRadius: 1.3 }, 1.5],
] as const)
  test(`a ${name} crop is that of 8 bits but for its roundings`, () => {
    for (const size of [
      { width: 24, height: 24 },
      { width: 80, height: 50 },
      { width: 9, height: 31 },
    ]) {
      const crop = { ...plain, x: 5, y: 3, width: 41, height: 37, ...change };
      const expected = new Uint8Array(size.width * size.height * 3);
      renderCrops({ ...image, data: bytes, channels: 3 }, [crop], [{ ...size, offset: 0 }], expected);
      const found = Array.from(deep(image, crop, size), (value) => value / 257);
      if ('blurRadius' in change) {
        // Pillow's blur is three boxes, this one a Gaussian
        const mean = found.reduce((sum, value, i) => sum + Math.abs(value - expected[i]!), 0) / found.length;
        assert.ok(mean <= tolerance, `mean difference ${mean}`);
      } else assert.ok(worst(found, expected) <= tolerance, `worst difference ${worst(found, expected)}`);
    }
  });

test('an evaluation’s centre crop is that of 8 bits but for its roundings', () => {
  const shape = resizedShape(WIDTH, HEIGHT, 40);
  const window = centerCropWindow(shape, 32);
  const options = { ...shape, window, planar: true };
  const expected = resizeImage({ ...image, data: bytes, channels: 3 }, options);
  const [across, down] = [WIDTH / shape.width, HEIGHT / shape.height];
  const box = { x: window.x * across, y: window.y * down, width: 32 * across, height: 32 * down };
  const out = new Uint16Array(32 * 32 * 3);
  resizeDeepImage(image, box, { width: 32, height: 32, offset: 0 }, new Uint8Array(out.buffer));
  const found = Array.from(out, (value) => value / 257);
  assert.ok(worst(found, expected) <= 1.6, `worst difference ${worst(found, expected)}`);
});

test('without a change of size every value stays, also of 16 channels', () => {
  for (const channels of [1, 2, 5, 16]) {
    const data = Uint16Array.from({ length: 12 * 10 * channels }, (_, i) => Math.imul(i, 7919) & 0xffff);
    const source = { data, width: 12, height: 10, channels };
    const found = deep(source, { ...plain, width: 12, height: 10 }, { width: 12, height: 10 });
    const expected = found.map((_, i) => data[(i % 120) * channels + Math.floor(i / 120)]!);
    assert.deepEqual([...found], [...expected]);
  }
});

test('brightness scales a channel, contrast its distance from its own mean', () => {
  const data = Uint16Array.from({ length: 8 * 8 * 2 }, (_, i) => (i % 2 === 0 ? 1000 + 10 * i : 30000 + i));
  const source = { data, width: 8, height: 8, channels: 2 };
  const whole = { ...plain, width: 8, height: 8 };
  const jitter = { order: [0], brightness: 1.25, contrast: 0.5, saturation: 1, hue: 0 };
  const bright = deep(source, { ...whole, jitter }, { width: 8, height: 8 });
  const planes = [0, 1].map((c) => [...data].filter((_, i) => i % 2 === c));
  assert.ok(
    worst(
      bright,
      planes.flat().map((value) => 1.25 * value),
    ) <= 0.51,
  );
  const order = [Jitter.contrast];
  const flat = deep(source, { ...whole, jitter: { ...jitter, order } }, { width: 8, height: 8 });
  const expected = planes.flatMap((plane) => {
    const mean = plane.reduce((sum, value) => sum + value, 0) / plane.length;
    return plane.map((value) => mean + 0.5 * (value - mean));
  });
  assert.ok(worst(flat, expected) <= 0.51);
});

test('values stay between 0 and 65535, and a constant image stays constant', () => {
  const data = new Uint16Array(20 * 20 * 3).map((_, i) => (i % 2 === 0 ? 65535 : 0));
  const source = { data, width: 20, height: 20, channels: 3 };
  const jitter = { order: [0, 1], brightness: 3, contrast: 3, saturation: 1, hue: 0 };
  const crop = { ...plain, width: 20, height: 20, jitter, blurRadius: 0.5 };
  for (const value of deep(source, crop, { width: 33, height: 27 })) assert.ok(value >= 0 && value <= 65535);
  const even = { ...source, data: new Uint16Array(20 * 20 * 3).fill(12345) };
  const blurred = { ...plain, x: 3, y: 2, width: 15, height: 17, blurRadius: 2, flip: true };
  assert.deepEqual(new Set(deep(even, blurred, { width: 7, height: 9 })), new Set([12345]));
});

test('the addon refuses what has a meaning for RGB only, and what lies outside its memory', () => {
  const size = { width: 8, height: 8 };
  const crop = { ...plain, width: 10, height: 10 };
  const jitter = { order: [Jitter.hue], brightness: 1, contrast: 1, saturation: 1, hue: 0.1 };
  for (const change of [{ grayscale: true }, { solarizeThreshold: 128 }, { jitter }])
    assert.throws(() => deep(image, { ...crop, ...change }, size), /crop 0 has an augmentation for RGB/);
  const addon = createRequire(import.meta.url)((findAddon('crops') as { file: string }).file) as Record<
    'renderDeepCrops',
    (...args: unknown[]) => void
  >;
  const numbers = new Float64Array(25).fill(1);
  const pixels = new Uint8Array(8 * 8 * 2 * 4);
  assert.throws(() => addon.renderDeepCrops(pixels, 8, 8, 5, numbers, pixels), /does not fit 512 bytes/);
  const outside = Float64Array.from(numbers, (value, i) => (i === 0 ? 8 : value));
  assert.throws(() => addon.renderDeepCrops(pixels, 8, 8, 4, outside, pixels), /outside its 8 x 8 image/);
  assert.throws(() => addon.renderDeepCrops(pixels, 8, 8, 17, numbers, pixels), /number of channels is 17/);
  assert.throws(
    () => addon.renderDeepCrops(pixels.subarray(1), 7, 7, 1, numbers, pixels),
    /does not begin at an even address/,
  );
  assert.throws(
    () => renderDeepCrops(image, [crop], [{ ...size, offset: 2 }], new Uint8Array(8 * 8 * 6)),
    /does not fit the output/,
  );
});
