import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { fromTypedArray, liveTensors, tensor } from '../torch/index.js';
import { knnClassify } from './knn.js';
import { noTensorLeft } from '../testing/no-tensor-left.js';

/** murmur3's finalizer; the rule by which tools/fixtures/make_knn_fixture.py makes the same features. */
function mix(value: number): number {
  let x = value >>> 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b) >>> 0;
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35) >>> 0;
  return (x ^ (x >>> 16)) >>> 0;
}
const unit = (n: number): number => (mix(n) / 2 ** 32) * 2 - 1;

function make(count: number, dim: number, classes: number, salt: number, spread: number) {
  const labels = Array.from({ length: count }, (_, i) => (i * 7 + salt) % classes);
  const rows = new Float32Array(count * dim);
  for (let i = 0; i < count; i++) {
    for (let j = 0; j < dim; j++) {
      rows[i * dim + j] = unit(labels[i]! * 1000 + j) + spread * unit((salt + 1) * 10_000_019 + i * 1000 + j);
    }
  }
  return { features: fromTypedArray(rows, [count, dim]), labels };
}

interface Case {
  train: number;
  test: number;
  dim: number;
  classes: number;
  spread: number;
  scores: Record<string, [top1: number, top5: number]>;
}
const fixture = new URL('../../test/fixtures/eval/knn.json', import.meta.url);
const cases = JSON.parse(readFileSync(fixture, 'utf8')) as Case[];

describe('knnClassify', () => {
  for (const { train, test, dim, classes, spread, scores } of cases) {
    it(`gives the reference's scores: ${train} x ${dim} of ${classes} classes, ${test} test images`, () => {
      const ks = Object.keys(scores).map(Number);
      const result = knnClassify(make(train, dim, classes, 1, spread), make(test, dim, classes, 2, spread), {
        k: ks,
      });
      for (const k of ks) {
        const [top1, top5] = scores[k]!;
        assert.ok(
          Math.abs(result.get(k)!.top1 - top1) < 1e-9,
          `k ${k}: top-1 ${result.get(k)!.top1}, not ${top1}`,
        );
        assert.ok(
          Math.abs(result.get(k)!.top5 - top5) < 1e-9,
          `k ${k}: top-5 ${result.get(k)!.top5}, not ${top5}`,
        );
      }
    });
  }

  it('works where the reference fails: one test image, k above the training images', () => {
    const train = {
      features: tensor([
        [1, 0],
        [0.9, 0.1],
        [0, 1],
      ]),
      labels: [0, 0, 1],
    };
    const test = { features: tensor([[0.1, 5]]), labels: [1] };
    const scores = knnClassify(train, test, { k: [1, 3, 50] });
    // two far votes for class 0 weigh less than a near one for class 1
    assert.deepEqual(
      [...scores],
      [1, 3, 50].map((k) => [k, { top1: 100, top5: 100 }]),
    );
  });

  it('gives the same to the bit whatever the blocks, and keeps the earlier of equals', () => {
    const { train: trainCount, test: testCount, dim, classes, spread } = cases[0]!;
    const train = make(trainCount, dim, classes, 1, spread);
    const test = make(testCount, dim, classes, 2, spread);
    const whole = knnClassify(train, test, { k: [3, 20, 200] });
    for (const block of [1, 7, 150, 599, 600]) {
      assert.deepEqual(knnClassify(train, test, { k: [3, 20, 200], block }), whole, `block ${block}`);
    }
    // four equal training images in blocks of one: the first two vote
    const same = { features: tensor(Array.from({ length: 4 }, () => [3, 4])), labels: [6, 6, 1, 1] };
    const one = { features: tensor([[3, 4]]), labels: [6] };
    assert.deepEqual([...knnClassify(same, one, { k: [2], block: 1 })], [[2, { top1: 100, top5: 100 }]]);
  });

  it('leaves no tensors behind', () => {
    const [train, test] = [make(50, 4, 3, 1, 1), make(40, 4, 3, 2, 1)];
    const before = liveTensors();
    knnClassify(train, test);
    noTensorLeft(before);
  });
});
