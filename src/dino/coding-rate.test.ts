/** SimDINO's loss against RobinWu218/SimDINO (tools/fixtures/make_option_fixtures.py). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ShapeError } from '../errors.js';
import { unitLength } from '../models/index.js';
import { assertMatches, readFixture } from '../testing/fixtures.js';
import { hashValues } from '../testing/hash-fill.js';
import { fromTypedArray, ones, ops, Parameter, scope, type Tensor } from '../torch/index.js';
import { CodingRateLoss } from './coding-rate.js';

const fixture = readFixture<{ crops: number; batch: number; dim: number }>('options');
const { crops, batch, dim } = fixture.cases['simdino'] as { crops: number; batch: number; dim: number };
const hashed = (name: string, shape: number[]): Tensor => fromTypedArray(hashValues(name, shape), shape);

for (const compressionWeight of [1, 3]) {
  test(`loss and gradient are the original’s (compression ${compressionWeight})`, () => {
    scope(() => {
      const student = new Parameter(hashed('simdino/student', [crops * batch, dim]));
      const teacher = unitLength(hashed('simdino/teacher', [2 * batch, dim]));
      const objective = new CodingRateLoss({ outDim: dim, crops, compressionWeight });
      const { loss, targets } = objective.forward(unitLength(student), teacher);
      assertMatches(fixture, `simdino/${compressionWeight}/loss`, loss, { absolute: 1e-5 });
      loss.backward();
      assertMatches(fixture, `simdino/${compressionWeight}/grad`, student.grad as Tensor, { relative: 1e-4 });
      for (const sum of targets.sum([1]).toArray()) assert.ok(Math.abs(sum - 1) < 1e-5);
      objective.dispose();
    });
  });
}

test('outputs that are all the same are the worst, and the centre shows them', () => {
  scope(() => {
    const objective = new CodingRateLoss({ outDim: dim, crops: 2 });
    const same = unitLength(ones([2 * batch, dim]));
    const spread = unitLength(hashed('simdino/teacher', [batch, dim]));
    const apart = ops.cat([spread, spread]);
    const [worst, better] = [same, apart].map((outputs) => objective.forward(outputs, outputs).loss.item());
    assert.ok(better! < worst!);
    for (let i = 0; i < 60; i++) objective.updateCenter(same);
    assert.ok(objective.center.norm().item() > 0.99);
    objective.dispose();
  });
});

test('shapes that do not fit are refused', () => {
  scope(() => {
    const objective = new CodingRateLoss({ outDim: dim, crops: 2 });
    assert.throws(() => objective.forward(ones([4, dim]), ones([4, dim + 1])), ShapeError);
    objective.dispose();
  });
  assert.throws(() => new CodingRateLoss({ outDim: dim, crops: 1 }), ShapeError);
});
