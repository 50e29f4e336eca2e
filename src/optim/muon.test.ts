/** Muon against torch.optim.Muon (tools/fixtures/make_option_fixtures.py), which iterates in bfloat16. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertMatches, readFixture } from '../testing/fixtures.js';
import { hashValues } from '../testing/hash-fill.js';
import { fromTypedArray, ops, Parameter, scope, type Tensor, zeros } from '../torch/index.js';
import { AdamW, Muon, parameterGroups } from './index.js';
import { orthogonalize } from './muon.js';

const fixture = readFixture<{ shape: number[]; steps: number; lr: number; weightDecay: number }>('options');

for (const name of Object.keys(fixture.cases).filter((key) => key.startsWith('muon/'))) {
  test(`${name}: weights after a few steps are the original’s, to the precision of bfloat16`, () => {
    const { shape, steps, lr, weightDecay } = fixture.cases[name]!;
    scope(() => {
      const parameter = new Parameter(fromTypedArray(hashValues(name, shape), shape));
      const optimizer = new Muon(parameterGroups([['layer.weight', parameter]]));
      for (let step = 0; step < steps; step++) {
        parameter.grad = fromTypedArray(hashValues(`${name}/grad/${step}`, shape), shape);
        optimizer.step({ lr, weightDecay });
      }
      assertMatches(fixture, name, parameter, { absolute: 1e-3 });
      // and what it is held to is much less than what it does
      const moved = parameter
        .sub(fromTypedArray(hashValues(name, shape), shape))
        .abs()
        .max()
        .item();
      assert.ok(moved > 0.02, String(moved));
      optimizer.dispose();
    });
  });
}

test('singular values become nearly 1, whatever they were', () => {
  scope(() => {
    const given = fromTypedArray(hashValues('orthogonalized', [12, 30]), [12, 30]);
    for (const matrix of [given, given.t(), given.mul(1e-3)]) {
      const squares = (x: Tensor): number[] => {
        const gram = x.size(0) < x.size(1) ? x.matmul(x.t()) : x.t().matmul(x); // (12, 12)
        return ops.linalgEigh(gram.to('float64'))[0].toArray();
      };
      const [before, after] = [squares(matrix), squares(orthogonalize([matrix], 'float32')[0]!)];
      assert.ok(Math.max(...before) > 4 * Math.min(...before));
      for (const value of after) assert.ok(value > 0.4 && value < 1.6, String(after));
    }
  });
});

test('small gradients are not lost where training is in float16', () => {
  scope(() => {
    const [half, brain] = (['float16', 'bfloat16'] as const).map((dtype) => {
      const parameter = new Parameter(zeros([12, 30]));
      const optimizer = new Muon(parameterGroups([['layer.weight', parameter]]), { dtype });
      parameter.grad = fromTypedArray(hashValues('small', [12, 30]), [12, 30]).mul(1e-9);
      optimizer.step({ lr: 0.1, weightDecay: 0 });
      optimizer.dispose();
      return parameter.toArray();
    });
    assert.ok(Math.max(...half!.map(Math.abs)) > 0.01);
    assert.deepEqual(half, brain);
  });
});

test('the last layer, embeddings, norms and biases are AdamW’s, to the bit', () => {
  scope(() => {
    const names = ['head.last_layer.weight_v', 'backbone.pos_embed', 'backbone.norm.weight', 'fc.bias'];
    const shapes = [[4, 3], [1, 5, 4], [4], [4]];
    const results = [Muon, AdamW].map((Kind) => {
      const parameters = names.map((name, i) => [name, new Parameter(zeros(shapes[i]!))] as const);
      const optimizer = new Kind(parameterGroups(parameters));
      for (let step = 0; step < 3; step++) {
        for (const [name, parameter] of parameters)
          parameter.grad = fromTypedArray(hashValues(`${name}/${step}`, parameter.shape), parameter.shape);
        optimizer.step({ lr: 0.01, weightDecay: 0.1 });
      }
      const values = parameters.map(([, parameter]) => parameter.toArray());
      optimizer.dispose();
      return values;
    });
    assert.deepEqual(results[0], results[1]);
  });
});
