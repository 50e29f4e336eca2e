/** KoLeo against facebookresearch/dinov2 (tools/fixtures/make_option_fixtures.py). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertMatches, readFixture } from '../testing/fixtures.js';
import { hashValues } from '../testing/hash-fill.js';
import { fromTypedArray, ones, Parameter, scope, type Tensor } from '../torch/index.js';
import { koleoLoss } from './koleo.js';

const fixture = readFixture<{ batch: number; dim: number }>('options');

test('loss and gradient are the original’s, whatever the crops after the global ones are', () => {
  const { batch, dim } = fixture.cases['koleo'] as { batch: number; dim: number };
  const shape = [2 * batch, dim];
  for (const locals of [0, 3]) {
    scope(() => {
      const values = [...hashValues('koleo', shape), ...new Float32Array(locals * batch * dim).fill(0.5)];
      const all = [(2 + locals) * batch, dim];
      const features = new Parameter(fromTypedArray(Float32Array.from(values), all));
      const loss = koleoLoss(features, batch);
      assertMatches(fixture, 'koleo/loss', loss, { absolute: 1e-6 });
      loss.backward();
      const gradient = (features.grad as Tensor).slice(0, 0, 2 * batch);
      assertMatches(fixture, 'koleo/grad', gradient.contiguous(), { relative: 1e-5 });
    });
  }
});

test('one image has no neighbour, and images that are all alike give a finite gradient', () => {
  scope(() => {
    assert.equal(koleoLoss(ones([2, 8]), 1).item(), 0);
    const features = new Parameter(ones([8, 8]));
    koleoLoss(features, 4).backward();
    assert.ok((features.grad as Tensor).toArray().every(Number.isFinite));
  });
});
