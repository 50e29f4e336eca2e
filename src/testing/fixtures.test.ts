import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertMatches, readFixture } from './fixtures.js';
import { hashBytes, hashValues, hashWeight } from './hash-fill.js';

// from tools/fixtures/hash_fill.py
test('hash values equal those of the Python side', () => {
  assert.deepEqual([...hashBytes('step0.crop0', [5])], [172, 163, 130, 210, 97]);
  assert.deepEqual(
    [...hashValues('input', [2, 2], 2)],
    [1.1961325407028198, -1.5535187721252441, -1.7499275207519531, -0.46471408009529114],
  );
  assert.deepEqual([...hashWeight('norm.weight', [2], 0.04)], [0.9034984111785889, 1.0286839008331299]);
  assert.deepEqual(
    [...hashWeight('blocks.0.attn.qkv.weight', [1, 2], 0.04)],
    [-0.04853726923465729, 0.06748508661985397],
  );
  assert.deepEqual(
    [...hashWeight('last_layer.weight_g', [2, 1], 0.04)],
    [1.0693279504776, 0.9988844394683838],
  );
});

test('a fixture is read with its cases and tensors', () => {
  const fixture = readFixture<{ outDim: number; batch: number; crops: number }>('loss');
  const first = fixture.cases['0'];
  assert.ok(first);
  assert.equal(fixture.header['commit'], '7c446df');
  assert.deepEqual(fixture.tensors.get('0/0/grad')?.shape, [first.crops * first.batch, first.outDim]);
  const center = fixture.tensors.get('0/0/center');
  assert.deepEqual(center?.shape, [1, first.outDim]);
  assert.equal(center.stride, 1);
  const sum = center.data.reduce((total, value) => total + value, 0);
  assert.ok(Math.abs(sum - center.sum) < 1e-6);
});

test('assertMatches refuses a different shape, element, or mean', () => {
  const fixture = {
    header: {},
    cases: {},
    tensors: new Map([['x', { shape: [4], stride: 2, data: Float32Array.of(1, 3), sum: 10, absSum: 10 }]]),
  };
  const like = (values: number[], shape = [values.length]) => ({ shape, toTypedArray: () => values });
  assert.equal(assertMatches(fixture, 'x', like([1, 2, 3, 4]), { absolute: 1e-6 }), 0);
  assert.throws(() => assertMatches(fixture, 'x', like([1, 2, 3, 4], [2, 2]), { absolute: 1 }), /shape/);
  assert.throws(() => assertMatches(fixture, 'x', like([1, 2, 3.1, 4]), { absolute: 0.01 }), /x\[2\]/);
  assert.throws(() => assertMatches(fixture, 'x', like([1, 5, 3, 4]), { relative: 0.01 }), /mean/);
  assert.throws(() => assertMatches(fixture, 'y', like([1]), {}), /no tensor y/);
});
