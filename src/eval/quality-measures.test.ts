import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { fromTypedArray, liveTensors, type Tensor } from '../torch/index.js';
import { alphaReq, lidar, rankMe } from './quality-measures.js';
import { noTensorLeft } from '../testing/no-tensor-left.js';

/** murmur3's finalizer; the rule by which tools/fixtures/make_quality_fixture.py makes the same features. */
function mix(value: number): number {
  let x = value >>> 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b) >>> 0;
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35) >>> 0;
  return (x ^ (x >>> 16)) >>> 0;
}
const unit = (n: number): number => (mix(n) / 2 ** 32) * 2 - 1;

interface Case {
  count: number;
  dim: number;
  views: number;
  decay: number;
  spread: number;
  rankMe: number;
  lidar: number;
  alphaReq: number;
}
const fixture = new URL('../../test/fixtures/eval/quality.json', import.meta.url);
const cases = JSON.parse(readFileSync(fixture, 'utf8')) as Case[];

const make = ({ count, dim, views, decay, spread }: Case): Tensor[] =>
  Array.from({ length: views }, (_, view) => {
    const rows = new Float32Array(count * dim);
    for (let i = 0; i < count; i++)
      for (let j = 0; j < dim; j++) {
        const value = unit(i * 1000 + j) + spread * unit((view + 1) * 10_000_019 + i * 1000 + j);
        rows[i * dim + j] = value * (j + 1) ** -decay + 0.25;
      }
    return fromTypedArray(rows, [count, dim]);
  });

const isClose = (found: number | null, expected: number): void =>
  assert.ok(found !== null && Math.abs(found / expected - 1) < 1e-6, `${found}, expected ${expected}`);

describe('measures without labels', () => {
  for (const each of cases)
    it(`are those of the papers' formulas: ${each.count} x ${each.dim}, ${each.views} views`, () => {
      const views = make(each);
      const before = liveTensors();
      isClose(rankMe(views[0]!), each.rankMe);
      isClose(lidar(views), each.lidar);
      isClose(alphaReq(views[0]!), each.alphaReq);
      noTensorLeft(before);
    });

  it('call features that are all alike of rank 1', () => {
    const alike = fromTypedArray(new Float32Array(40 * 8).fill(0.5), [40, 8]);
    assert.ok(Math.abs(rankMe(alike) - 1) < 1e-4, String(rankMe(alike)));
    assert.ok(Math.abs(lidar([alike, alike]) - 1) < 1e-4, String(lidar([alike, alike])));
    assert.equal(alphaReq(alike), null);
  });

  it('say how many views and images they need', () => {
    const one = fromTypedArray(new Float32Array(8), [1, 8]);
    assert.throws(() => lidar([one]), /at least 2 views of each image, got 1/);
    assert.throws(() => lidar([one, one]), /at least 2 images, got \(1, 8\)/);
    assert.throws(() => alphaReq(one), /at least 2 images/);
    const two = fromTypedArray(new Float32Array(16), [2, 8]);
    assert.throws(() => lidar([two, fromTypedArray(new Float32Array(16), [4, 4])]), /not of one shape/);
    assert.equal(alphaReq(two), null, 'one eigenvalue is too few for a line');
  });
});
