/**
 * The distributions of torchvision's transforms: moments are compared with those of the definitions. All draws are seeded,
 * so that a test that passes once always passes; bounds are five standard errors.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { roundHalfEven } from '../../plain/rounding.js';
import {
  DEFAULT_AUGMENTATION,
  resolveAugmentation,
  sampleCropParams,
  type CropParams,
} from './augmentation.js';

const settings = resolveAugmentation();
const COUNT = 4000;

const sampled = Array.from({ length: COUNT }, (_, imageIndex) =>
  sampleCropParams(settings, { seed: 0, epoch: 2, imageIndex, width: 500, height: 375 }),
);
const column = (crop: number) => sampled.map((crops) => crops[crop]!);
const locals = sampled.flatMap((crops) => crops.slice(2));

function assertShare(values: boolean[], expected: number, what: string): void {
  const share = values.filter(Boolean).length / values.length;
  const error = Math.sqrt((expected * (1 - expected)) / values.length);
  assert.ok(Math.abs(share - expected) <= 5 * error, `${what}: ${share}, expected ${expected}`);
}

function assertUniform(values: number[], low: number, high: number, what: string): void {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const spread = (high - low) / Math.sqrt(12);
  const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length;
  assert.ok(
    values.every((value) => value >= low && value <= high),
    `${what}: out of range`,
  );
  assert.ok(
    Math.abs(mean - (low + high) / 2) < (5 * spread) / Math.sqrt(values.length),
    `${what}: mean ${mean}`,
  );
  assert.ok(Math.abs(Math.sqrt(variance) / spread - 1) < 5 / Math.sqrt(values.length), `${what}: spread`);
}

test('the defaults are those of the reference', () => {
  const { globalCropsSize, localCropsSize, localCropsNumber, globalCropsScale, localCropsScale } = settings;
  assert.deepEqual([globalCropsSize, localCropsSize, localCropsNumber], [224, 96, 8]);
  assert.deepEqual(
    [globalCropsScale, localCropsScale],
    [
      [0.4, 1],
      [0.05, 0.4],
    ],
  );
  assert.equal(sampled[0]!.length, 10);
});

test('crops lie inside the image; area and shape follow RandomResizedCrop', () => {
  for (const crop of sampled.flat()) {
    for (const value of [crop.x, crop.y, crop.width, crop.height]) assert.ok(Number.isInteger(value));
    assert.ok(crop.x >= 0 && crop.y >= 0 && crop.width > 0 && crop.height > 0);
    assert.ok(crop.x + crop.width <= 500 && crop.y + crop.height <= 375);
  }
  // local crops are never refused for their size (0.4 of the area at 3:4 is 275 x 274 at most), so the area is uniform
  const areas = locals.map((crop) => (crop.width * crop.height) / (500 * 375));
  assertUniform(
    areas.map((area) => Math.min(Math.max(area, 0.05), 0.4)),
    0.05,
    0.4,
    'area',
  );
  const shapes = locals.map((crop) => Math.log(crop.width / crop.height));
  const limit = Math.log(4 / 3);
  assertUniform(
    shapes.map((shape) => Math.min(Math.max(shape, -limit), limit)),
    -limit,
    limit,
    'log shape',
  );
  const globalAreas = [...column(0), ...column(1)].map((crop) => (crop.width * crop.height) / (500 * 375));
  assert.ok(Math.min(...globalAreas) > 0.395 && Math.max(...globalAreas) <= 1);
  // positions: uniform over the free space
  assertUniform(
    locals.filter((c) => c.width < 490).map((c) => (c.x + 0.5) / (501 - c.width)),
    0,
    1,
    'x',
  );
  assertUniform(
    locals.filter((c) => c.height < 365).map((c) => (c.y + 0.5) / (376 - c.height)),
    0,
    1,
    'y',
  );
});

test('where no rectangle fits, the largest central one with an allowed aspect ratio is used', () => {
  const whole = resolveAugmentation({ globalCropsScale: [1, 1] });
  const crop = (width: number, height: number) => {
    const [first] = sampleCropParams(whole, { seed: 0, epoch: 0, imageIndex: 0, width, height });
    return [first!.x, first!.y, first!.width, first!.height];
  };
  assert.deepEqual(crop(1000, 100), [433, 0, 133, 100]);
  assert.deepEqual(crop(100, 1000), [0, 433, 100, 133]);
  assert.deepEqual(crop(1, 1), [0, 0, 1, 1]);
});

test('flip, jitter, grayscale, blur and solarize have their probabilities', () => {
  for (const crop of [0, 1, 5]) {
    assertShare(
      column(crop).map((c) => c.flip),
      0.5,
      'flip',
    );
    assertShare(
      column(crop).map((c) => c.jitter !== null),
      0.8,
      'jitter',
    );
    assertShare(
      column(crop).map((c) => c.grayscale),
      0.2,
      'grayscale',
    );
  }
  assert.ok(column(0).every((c) => c.blurRadius > 0));
  assertShare(
    column(1).map((c) => c.blurRadius > 0),
    0.1,
    'blur of the second global crop',
  );
  assertShare(
    locals.map((c) => c.blurRadius > 0),
    0.5,
    'blur of local crops',
  );
  assertUniform(
    column(0).map((c) => c.blurRadius),
    0.1,
    2,
    'blur radius',
  );
  assertShare(
    column(1).map((c) => c.solarizeThreshold === 128),
    0.2,
    'solarize',
  );
  assert.ok([...column(0), ...locals].every((c) => c.solarizeThreshold === null));
});

test('jitter factors are uniform, and its 24 orders equally likely', () => {
  const jitters = locals.flatMap((c: CropParams) => (c.jitter === null ? [] : [c.jitter]));
  assertUniform(
    jitters.map((j) => j.brightness),
    0.6,
    1.4,
    'brightness',
  );
  assertUniform(
    jitters.map((j) => j.contrast),
    0.6,
    1.4,
    'contrast',
  );
  assertUniform(
    jitters.map((j) => j.saturation),
    0.8,
    1.2,
    'saturation',
  );
  assertUniform(
    jitters.map((j) => j.hue),
    -0.1,
    0.1,
    'hue',
  );
  const orders = new Map<string, number>();
  for (const { order } of jitters) orders.set(order.join(''), (orders.get(order.join('')) ?? 0) + 1);
  assert.equal(orders.size, 24);
  const expected = jitters.length / 24;
  for (const count of orders.values()) assert.ok(Math.abs(count - expected) < 5 * Math.sqrt(expected));
});

test('a jitter of strength 0 is left out of the order', () => {
  const off = resolveAugmentation({ hue: 0, contrast: 0, colorJitterProbability: 1 });
  const [crop] = sampleCropParams(off, { seed: 0, epoch: 0, imageIndex: 0, width: 50, height: 50 });
  assert.deepEqual([...crop!.jitter!.order].sort(), [0, 2]);
});

test('parameters depend on seed, epoch, image and crop, and on nothing else', () => {
  const key = { seed: 1, epoch: 2, imageIndex: 3, width: 300, height: 200 };
  const base = sampleCropParams(settings, key);
  assert.deepEqual(sampleCropParams(settings, key), base);
  for (const change of [{ seed: 2 }, { epoch: 3 }, { imageIndex: 4 }]) {
    assert.notDeepEqual(sampleCropParams(settings, { ...key, ...change }), base);
  }
  // more local crops don't change the first ones
  const more = sampleCropParams(resolveAugmentation({ localCropsNumber: 10 }), key);
  assert.deepEqual(more.slice(0, 10), base);
  assert.equal(new Set(base.map((crop) => JSON.stringify(crop))).size, base.length);
});

test('all settings out of range are named together', () => {
  assert.deepEqual(resolveAugmentation({}), DEFAULT_AUGMENTATION);
  assert.throws(
    () =>
      resolveAugmentation({
        ...{ globalCropsSize: 0, localCropsNumber: -1, localCropsScale: [0.5, 0.2], flipProbability: 2 },
        ...{ brightness: NaN, hue: 0.6, blurRadius: [3, 1], cropAspectRatio: [0, 1] },
      }),
    (error: Error) => {
      const lines = error.message.split('\n');
      assert.equal(lines.length, 8);
      for (const flag of ['--global-crops-size', '--local-crops-number', '--flip-probability', '--hue']) {
        assert.ok(error.message.includes(flag), flag);
      }
      return error.name === 'ConfigError';
    },
  );
});

test('rounding is Python’s', () => {
  assert.deepEqual([0.5, 1.5, 2.5, 2.4, 2.6, 3].map(roundHalfEven), [0, 2, 2, 2, 3, 3]);
});
