/** Features in other precisions than fp32, and what `auto` chooses. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { loadModel, type Model } from '../model.js';
import type { Precision } from '../plain/precisions.js';
import { makeImageFolder } from '../testing/image-folder.js';
import { writeTinyRun } from '../testing/saved-run.js';
import { precisionProblem } from '../torch/index.js';
import { embed } from './embed.js';
import { fastestPrecision, LEAST_COSINE, precisionSample } from './feature-precision.js';

const problem = precisionProblem('bf16', 'cpu');
const needsBf16 = { skip: problem ?? false };

let folder = '';
let images = '';
let model: Model;
before(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'dino-feature-precision-'));
  images = path.join(folder, 'images');
  await makeImageFolder(images, { classes: 2, perClass: 4 });
  writeTinyRun(path.join(folder, 'run'));
  model = loadModel(path.join(folder, 'run'), { device: 'cpu' });
});
after(() => {
  model.dispose();
  rmSync(folder, { recursive: true, force: true });
});

const featuresIn = async (precision: Precision | 'auto', told: string[] = []): Promise<Float32Array> => {
  const onPrecision = ({ precision, reason }: { precision: string; reason: string }) =>
    told.push(`${precision}: ${reason}`);
  return (await embed(model, images, { precision, onPrecision })).features;
};

test('bf16-matmul and bf16 give features close to those of fp32', needsBf16, async () => {
  const exact = await featuresIn('fp32');
  for (const precision of ['bf16-matmul', 'bf16'] as const) {
    const got = await featuresIn(precision);
    const far = got.reduce((most, value, i) => Math.max(most, Math.abs(value - exact[i]!)), 0);
    const scale = exact.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    assert.ok(far > 0 && far < 0.05 * scale, `${precision}: off by ${far} of ${scale}`);
  }
});

test('auto stays with fp32 for a few images, and says why', async () => {
  const told: string[] = [];
  assert.deepEqual(await featuresIn('auto', told), await featuresIn('fp32'));
  assert.equal(told.length, 1);
  assert.match(told[0]!, problem === null ? /^fp32: 8 images are too few to gain from/ : /^fp32: .*bfloat16/);
});

test('of many images a sample is tried, spread over all of them', needsBf16, () => {
  const items = Array.from({ length: 1600 }, (_, i) => ({ path: String(i), label: null }));
  const sample = precisionSample(items, 'cpu');
  assert.ok(typeof sample !== 'string');
  assert.deepEqual(
    sample.map((item) => item.path),
    Array.from({ length: 16 }, (_, i) => String(100 * i)),
  );
});

/** Computes for so many milliseconds, then gives two rows: the exact ones, turned by an angle. */
const computing =
  (milliseconds: Partial<Record<Precision, number>>, angle: Partial<Record<Precision, number>>) =>
  (precision: Precision): Float32Array => {
    const end = performance.now() + (milliseconds[precision] ?? 0);
    while (performance.now() < end);
    const turned = angle[precision] ?? 0;
    return Float32Array.of(1, 0, Math.cos(turned), Math.sin(turned));
  };

test('a faster precision is taken only if no image of the sample changes', needsBf16, () => {
  const slow = { fp32: 200, 'bf16-matmul': 5, bf16: 1 };
  const near = Math.acos(LEAST_COSINE) / 2;
  const choose = (angle: Partial<Record<Precision, number>>) =>
    fastestPrecision('cpu', 2, 100, computing(slow, angle));
  assert.equal(choose({ bf16: near }).precision, 'bf16');
  const careful = choose({ bf16: 3 * near });
  assert.equal(careful.precision, 'bf16-matmul');
  assert.match(
    careful.reason,
    /^2 images take fp32 [\d.]+ m?s, bf16-matmul [\d.]+ ms \(cosine to fp32 at least 1\.000000\)/,
  );
  assert.match(careful.reason, /bf16 differs \(cosine to fp32 0\.99\d+, less than 0\.9999\)/);
  assert.equal(choose({ 'bf16-matmul': NaN, bf16: NaN }).precision, 'fp32');
  assert.equal(
    fastestPrecision('cpu', 2, 100, computing({ fp32: 1, 'bf16-matmul': 150, bf16: 150 }, {})).precision,
    'fp32',
  );
});
