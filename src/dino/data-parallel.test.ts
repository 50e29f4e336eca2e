/** Several processes, each with its share of a batch, compute what one process does: loss, gradients, weights. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { ParallelCase } from '../testing/parallel-child.js';
import { scope, tensor, type Tensor } from '../torch/index.js';
import { readSafetensors } from '../weights/safetensors.js';

let folder = '';
before(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'dino-parallel-'));
});
after(() => rmSync(folder, { recursive: true, force: true }));

const VIT = { arch: 'vit', embedDim: 48, depth: 2, numHeads: 2, imgSize: 32 };
const script = fileURLToPath(new URL('../testing/parallel-child.js', import.meta.url));

interface Outcome {
  losses: number[];
  norms: number[][];
  weights: Map<string, Tensor>;
}

let stores = 0;
/** Runs a case in `size` processes. @returns What each of them has at the end. */
async function run(what: ParallelCase, size: number): Promise<Outcome[]> {
  const store = path.join(folder, `store-${stores++}`);
  await Promise.all(
    Array.from({ length: size }, async (_, rank) => {
      const args = [script, store, String(rank), String(size), JSON.stringify(what), folder];
      const child = spawn(process.execPath, args, {
        stdio: ['ignore', 'inherit', 'inherit'],
        env: { ...process.env, OMP_NUM_THREADS: '1' },
      });
      const code = await new Promise((resolve) => child.on('exit', resolve));
      assert.equal(code, 0, `rank ${rank} of ${size}`);
    }),
  );
  return Array.from({ length: size }, (_, rank) => {
    const file = path.join(folder, `rank-${rank}-of-${size}`);
    const { losses, norms } = JSON.parse(readFileSync(`${file}.json`, 'utf8')) as Omit<Outcome, 'weights'>;
    const { tensors: weights } = readSafetensors(`${file}.safetensors`);
    return { losses, norms, weights };
  });
}

/**
 * Largest difference, relative to the largest number, or to a thousandth where all are nearly zero (such as the gradient of
 * a bias before a batch norm).
 */
function difference(a: Tensor, b: Tensor | undefined): number {
  return scope(() => {
    const [x, y] = [a.to('float64'), (b ?? assert.fail('missing')).to('float64')];
    return x.sub(y).abs().max().item() / Math.max(1e-3, x.abs().max().item());
  });
}
const list = (values: number[]): Tensor => tensor(values, { dtype: 'float64' });

// In float64: in float32 Adam divides noise by noise where a gradient is only noise (a key's bias, which softmax cancels).
const cases: Record<string, Omit<ParallelCase, 'dtype'> & { sizes?: number[] }> = {
  'a transformer': { model: VIT, head: { outDim: 64, useBn: false }, batch: 6, steps: 20, sizes: [2, 3] },
  'batch normalisation in the head': { model: VIT, head: { outDim: 64, useBn: true }, batch: 6, steps: 20 },
  'micro-batches': { model: VIT, head: { outDim: 64, useBn: false }, batch: 8, steps: 5, microBatchSize: 4 },
  'activation checkpoints': {
    ...{ model: VIT, head: { outDim: 64, useBn: true }, batch: 4, steps: 5, activationCheckpointing: true },
  },
  'cross-covariance attention (XCiT)': {
    ...{ model: { arch: 'xcit' }, head: { outDim: 64, useBn: false }, batch: 4, steps: 5 },
  },
  'low-rank updates': { model: VIT, head: { outDim: 64, useBn: false }, batch: 4, steps: 5, loraRank: 4 },
  'a ResNet': {
    model: { arch: 'resnet' },
    head: { outDim: 64, useBn: true },
    batch: 8,
    steps: 20,
    crop: 16,
  },
  'SimDINO, a transformer': {
    ...{ model: VIT, head: { outDim: null, useBn: false }, batch: 6, steps: 20, sizes: [2, 3] },
  },
  'SimDINO, a ResNet': {
    ...{ model: { arch: 'resnet' }, head: { outDim: null, useBn: true }, batch: 8, steps: 20, crop: 16 },
  },
  KoLeo: {
    ...{ model: VIT, head: { outDim: 64, useBn: false }, batch: 6, steps: 20, sizes: [2, 3] },
    koleoWeight: 0.1,
  },
  'KoLeo, one image in each process': {
    ...{ model: VIT, head: { outDim: 64, useBn: false }, batch: 2, steps: 5, koleoWeight: 0.1 },
  },
  'SimDINO and KoLeo in micro-batches with activation checkpoints': {
    ...{ model: VIT, head: { outDim: null, useBn: false }, batch: 8, steps: 5, koleoWeight: 0.1 },
    ...{ microBatchSize: 4, activationCheckpointing: true },
  },
};

const TOLERANCE = 1e-5;

for (const [name, { sizes = [2], ...sizesOf }] of Object.entries(cases)) {
  const what: ParallelCase = { ...sizesOf, dtype: 'float64' };
  test(`${name}: ${sizes.join(' and ')} processes equal one, over ${what.steps} steps`, async () => {
    const [whole] = (await run(what, 1)) as [Outcome];
    for (const size of sizes) {
      const parts = await run(what, size);
      for (const [rank, part] of parts.entries()) {
        const where = `rank ${rank} of ${size}`;
        assert.ok(
          difference(list(whole.losses), list(part.losses)) < TOLERANCE,
          `${where}: ${part.losses.join()} ${whole.losses.join()}`,
        );
        for (const [step, norms] of whole.norms.entries()) {
          const off = difference(list(norms), list(part.norms[step] as number[]));
          assert.ok(off < TOLERANCE, `${where}: gradients of step ${step} differ by ${off}`);
        }
        for (const [key, values] of whole.weights) {
          const off = difference(values, part.weights.get(key));
          assert.ok(off < TOLERANCE, `${where}: ${key} differs by ${off}`);
        }
        for (const [key, values] of part.weights)
          assert.ok(values.equal(parts[0]!.weights.get(key)!), `${where}: ${key} differs from rank 0's`);
      }
    }
  });
}
