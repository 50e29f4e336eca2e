import assert from 'node:assert/strict';
import { test } from 'node:test';
import { scope } from '../torch/index.js';
import { imageTensor } from './normalize.js';

test('an image’s pixels are planes of its channels', () => {
  scope(() => {
    const rgb = Uint8Array.from({ length: 2 * 3 * 3 }, (_, i) => i); // (2, 3, 3)
    const image = imageTensor(rgb, { width: 3, height: 2 }, 'cpu');
    assert.deepEqual(image.shape, [1, 3, 2, 3]);
    assert.equal(image.dtype, 'uint8');
    assert.deepEqual(
      [...(image.toTypedArray() as Uint8Array)],
      [0, 3, 6, 9, 12, 15, 1, 4, 7, 10, 13, 16, 2, 5, 8, 11, 14, 17],
    );
  });
});
