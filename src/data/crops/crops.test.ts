/**
 * native/crops compared with Pillow and torchvision on the cases of test/fixtures/augment. Every byte must be equal.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { Jitter, type CropParams, type JitterParams } from './augmentation.js';
import { cmykToRgb, renderCrops, resizeImage, toRgb, type PixelImage } from './crops.js';
import { findAddon } from '../../native-addons.js';
import { fixtureImage } from '../../testing/fixture-image.js';
import { centerCropWindow, resizedShape } from '../../plain/eval-geometry.js';

interface Case {
  operation: string;
  source: { width: number; height: number; seed: number };
  outWidth: number;
  outHeight: number;
  offset: number;
  filter?: 'bicubic' | 'bilinear';
  box?: [number, number, number, number];
  crop?: [number, number, number, number];
  flip?: boolean;
  factor?: number;
  order?: number[];
  factors?: [number, number, number, number];
  radius?: number;
  grayscale?: boolean;
  solarize?: boolean;
  resize?: number;
}

const folder = new URL('../../../test/fixtures/augment/', import.meta.url);
const cases = (JSON.parse(readFileSync(new URL('cases.json', folder), 'utf8')) as { cases: Case[] }).cases;
const expectedBytes = gunzipSync(readFileSync(new URL('cases.bin.gz', folder)));

const plain: CropParams = {
  ...{ x: 0, y: 0, width: 1, height: 1, flip: false, jitter: null },
  ...{ grayscale: false, blurRadius: 0, solarizeThreshold: null },
};

function sourceOf({ source }: Case): PixelImage {
  return { ...source, data: fixtureImage(source.width, source.height, source.seed), channels: 3 };
}

/** (3, h, w) to (h, w, 3). */
function interleave(planes: Uint8Array): Uint8Array {
  const count = planes.length / 3;
  return planes.map((_, i) => planes[(i % 3) * count + Math.floor(i / 3)]!);
}

function render(item: Case, change: Partial<CropParams>): Uint8Array {
  const image = sourceOf(item);
  const { outWidth: width, outHeight: height } = item;
  const out = new Uint8Array(width * height * 3);
  const crop = { ...plain, width: image.width, height: image.height, ...change };
  renderCrops(image, [crop], [{ width, height, offset: 0 }], out);
  return interleave(out);
}

function jitterOf(order: number[], factors: readonly number[]): JitterParams {
  const [brightness, contrast, saturation, hue] = factors as [number, number, number, number];
  return { order, brightness, contrast, saturation, hue };
}

function only(kind: keyof typeof Jitter, factor: number): Partial<CropParams> {
  return { jitter: jitterOf([Jitter[kind]], [factor, factor, factor, factor]) };
}

function rectangle([x, y, width, height]: [number, number, number, number]) {
  return { x, y, width, height };
}

function evaluate(item: Case): Uint8Array {
  const image = sourceOf(item);
  const shape = resizedShape(image.width, image.height, item.resize!);
  const window = centerCropWindow(shape, item.outWidth);
  const planes = resizeImage(image, { ...shape, window, planar: true });
  const interleaved = resizeImage(image, { ...shape, window });
  assert.deepEqual(interleave(planes), interleaved);
  return interleaved;
}

const operations: Record<string, (item: Case) => Uint8Array> = {
  resize(item) {
    const [x0, y0, x1, y1] = item.box!;
    const box = { x: x0, y: y0, width: x1 - x0, height: y1 - y0 };
    const filter = item.filter!;
    return resizeImage(sourceOf(item), { width: item.outWidth, height: item.outHeight, filter, box });
  },
  crop: (item) => render(item, { ...rectangle(item.crop!), flip: item.flip! }),
  brightness: (item) => render(item, only('brightness', item.factor!)),
  contrast: (item) => render(item, only('contrast', item.factor!)),
  saturation: (item) => render(item, only('saturation', item.factor!)),
  hue: (item) => render(item, only('hue', item.factor!)),
  grayscale: (item) => render(item, { grayscale: true }),
  solarize: (item) => render(item, { solarizeThreshold: 128 }),
  jitter: (item) => render(item, { jitter: jitterOf(item.order!, item.factors!) }),
  blur: (item) => render(item, { blurRadius: item.radius! }),
  pipeline: (item) =>
    render(item, {
      ...rectangle(item.crop!),
      flip: item.flip!,
      jitter: jitterOf(item.order!, item.factors!),
      grayscale: item.grayscale!,
      blurRadius: item.radius!,
      solarizeThreshold: item.solarize! ? 128 : null,
    }),
  evaluation: evaluate,
};

for (const [operation, run] of Object.entries(operations)) {
  const own = cases.filter((item) => item.operation === operation);
  test(`${operation}: ${own.length} cases equal Pillow's to the bit`, () => {
    assert.ok(own.length > 0);
    const different: string[] = [];
    for (const item of own) {
      const actual = run(item);
      const size = item.outWidth * item.outHeight * 3;
      const expected = expectedBytes.subarray(item.offset, item.offset + size);
      assert.equal(actual.length, size);
      let sum = 0;
      let worst = 0;
      for (let i = 0; i < size; i++) {
        const difference = Math.abs(actual[i]! - expected[i]!);
        sum += difference;
        worst = Math.max(worst, difference);
      }
      if (worst > 0) different.push(`${JSON.stringify(item)}: mean ${sum / size}, worst ${worst}`);
    }
    assert.deepEqual(different, []);
  });
}

test('rendering is in place: nothing outside a crop is touched, and crops do not depend on each other', () => {
  const image: PixelImage = { data: fixtureImage(70, 50, 1), width: 70, height: 50, channels: 3 };
  const a = { ...plain, x: 3, y: 2, width: 40, height: 33, blurRadius: 1.7 };
  const b = { ...plain, x: 30, y: 20, width: 40, height: 30, flip: true, grayscale: true };
  const shared = new Uint8Array(new SharedArrayBuffer(10_000)).fill(77);
  const targets = [
    { width: 17, height: 17, offset: 101 },
    { width: 31, height: 31, offset: 2001 },
  ];
  renderCrops(image, [a, b], targets, shared);
  const alone = new Uint8Array(3 * 31 * 31);
  renderCrops(image, [b], [{ width: 31, height: 31, offset: 0 }], alone);
  assert.deepEqual(Uint8Array.from(shared.subarray(2001, 2001 + alone.length)), alone);
  for (const [from, to] of [
    [0, 101],
    [101 + 3 * 17 * 17, 2001],
    [2001 + 3 * 31 * 31, 10_000],
  ] as const) {
    assert.ok(shared.subarray(from, to).every((value) => value === 77));
  }
});

test('gray, gray with alpha and RGB with alpha render as the equivalent RGB image', () => {
  const gray = Uint8Array.from({ length: 40 * 30 }, (_, i) => (i * 37) & 255);
  const wide = (channels: number, pixel: (v: number) => number[]) => {
    const data = new Uint8Array(gray.length * channels);
    gray.forEach((value, i) => data.set(pixel(value), i * channels));
    return { data, width: 40, height: 30, channels } as PixelImage;
  };
  const images = [
    wide(3, (v) => [v, v, v]),
    wide(1, (v) => [v]),
    wide(2, (v) => [v, 255 - v]),
    wide(4, (v) => [v, v, v, 9]),
  ];
  const results = images.map((image) => resizeImage(image, { width: 21, height: 17 }));
  for (const image of images) assert.deepEqual(toRgb(image), images[0]!.data);
  for (const result of results) assert.deepEqual(result, results[0]);
});

test('CMYK without colour management', () => {
  const pixels = Uint8Array.of(0, 0, 0, 0, 255, 0, 0, 0, 0, 128, 0, 64, 10, 20, 30, 255);
  assert.deepEqual([...cmykToRgb(pixels, 4, 1)], [255, 255, 255, 0, 255, 255, 191, 95, 191, 0, 0, 0]);
});

test('parameters that do not fit are refused, not written past the end', () => {
  const image: PixelImage = { data: fixtureImage(20, 20, 1), width: 20, height: 20, channels: 3 };
  const target = { width: 8, height: 8, offset: 0 };
  const whole = { ...plain, width: 20, height: 20 };
  assert.throws(
    () => renderCrops(image, [{ ...whole, x: 1 }], [target], new Uint8Array(191)),
    /does not fit/,
  );
  assert.throws(
    () => renderCrops(image, [{ ...whole, x: 25 }], [target], new Uint8Array(192)),
    /lies outside/,
  );
  assert.throws(() => renderCrops({ ...image, height: 21 }, [whole], [target], new Uint8Array(192)), /fit/);
  const window = { x: 0, y: 0, width: 9, height: 8 };
  assert.throws(() => resizeImage(image, { width: 8, height: 8, window }), /window/);
});

/** The addon itself, with numbers that the functions above would not send. */
const raw = createRequire(import.meta.url)((findAddon('crops') as { file: string }).file) as {
  renderCrops(...args: unknown[]): void;
  renderDeepCrops(...args: unknown[]): void;
  resize(...args: unknown[]): void;
  toRgb(...args: unknown[]): void;
  decode(...args: unknown[]): number;
};
const BAD = [1e300, -1e300, Infinity, NaN, -1, 2 ** 31, 2 ** 32 + 4, 2 ** 53, 0.5];

/** Replaces each number by each bad one, except those that are valid there. */
function assertRefused(
  good: number[],
  allowed: (field: number, value: number) => boolean,
  call: (numbers: Float64Array) => void,
) {
  call(Float64Array.from(good));
  for (let field = 0; field < good.length; field++) {
    for (const bad of BAD) {
      if (allowed(field, bad)) continue;
      const numbers = Float64Array.from(good);
      numbers[field] = bad;
      assert.throws(() => call(numbers), /internal: crops addon: /, `field ${field}: ${bad}`);
    }
  }
}

test('an image of 16-bit values whose bytes are more than 64 bits can count does not fit either', () => {
  const crop = [...[0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0], ...[1, 1, 1, 0, 0, 0, -1, 0, 0, 1, 1, 0]];
  // 2 * 2^30 * 2^30 * 8 is 2^64
  const [side, channels] = [2 ** 30, 8];
  assert.throws(
    () =>
      raw.renderDeepCrops(
        new Uint8Array(64),
        side,
        side,
        channels,
        Float64Array.from(crop),
        new Uint8Array(2 * channels),
      ),
    /does not fit 64 bytes/,
  );
});

test('a number that is not a size, place or factor is refused before it becomes an integer', () => {
  const data = fixtureImage(20, 20, 1);
  const out = new Uint8Array(300).fill(77);
  // x, y, width, height; output; offset; flip; jitters and their codes; factors; gray, blur, solarize; box; filter
  const crop = [
    ...[2, 3, 16, 15, 8, 9, 4, 0, 2, 0, 3, 0, 0],
    ...[1, 1, 1, 0.25, 0, 1.5, 128, 0, 0, 16, 15, 1],
  ];
  const isFraction = (field: number) =>
    (field >= 13 && field <= 16) || field === 18 || (field >= 20 && field <= 23);
  assertRefused(
    crop,
    (field, value) =>
      (value === 0.5 && isFraction(field)) ||
      (value === -1 && ((field >= 13 && field <= 16) || field === 19)),
    (numbers) => {
      raw.renderCrops(data, 20, 20, 3, numbers, out);
      assert.ok(
        out.subarray(0, 4).every((byte) => byte === 77) && out.subarray(4 + 216).every((byte) => byte === 77),
      );
    },
  );
  // the box; the resized size; the window; filter, planar, offset
  const resize = [0, 0, 20, 20, 8, 8, 0, 0, 8, 8, 1, 0, 0];
  assertRefused(
    resize,
    (field, value) => value === 0.5 && field < 4,
    (numbers) => raw.resize(data, 20, 20, 3, numbers, out),
  );
  for (const bad of BAD) {
    for (const image of [
      [bad, 20, 3],
      [20, bad, 3],
      [20, 20, bad],
    ]) {
      assert.throws(() => raw.toRgb(data, ...image, false, new Uint8Array(2000)), /internal: crops addon: /);
    }
    assert.throws(() => raw.decode(data, bad, 1e6, out, new Int32Array(3)), /internal: crops addon: /);
  }
  assert.throws(() => raw.decode(data, 0, NaN, out, new Int32Array(3)), /internal: crops addon: /);
  assert.throws(() => raw.resize(data, 20, 20, 3, [...resize], out), /Float64Array/);
});
