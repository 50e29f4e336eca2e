import assert from 'node:assert/strict';
import { test } from 'node:test';
import { npyBytes, readNpy } from './npy.js';

test('arrays are read as they were written, at a multiple of 64 bytes', () => {
  for (const shape of [[6], [2, 3], [1, 2, 3], [0, 4], []]) {
    const count = shape.reduce((product, size) => product * size, 1);
    const values = Float32Array.from({ length: count }, (_, i) => i / 7 - 1);
    const bytes = npyBytes(values, shape);
    assert.equal((bytes.length - values.byteLength) % 64, 0);
    assert.deepEqual(readNpy(bytes), { shape, values });
  }
});

test('what is cut off, too long or of another type is null', () => {
  const bytes = npyBytes(Float32Array.of(1, 2, 3, 4), [2, 2]);
  const changed = (from: string, to: string): Buffer =>
    Buffer.from(bytes.toString('latin1').replace(from, to), 'latin1');
  assert.ok(readNpy(changed('(2, 2)', '(4, 1)')));
  for (let length = 0; length < bytes.length; length++)
    assert.equal(readNpy(bytes.subarray(0, length)), null);
  assert.equal(readNpy(Buffer.concat([bytes, Buffer.of(0)])), null);
  for (const [from, to] of [
    ['<f4', '<f8'],
    ['False', 'True '],
    ['(2, 2)', '(2, 3)'],
    ['\x01\x00', '\x02\x00'],
    ['NUMPY', 'NUMPX'],
  ] as const)
    assert.equal(readNpy(changed(from, to)), null, to);
});
