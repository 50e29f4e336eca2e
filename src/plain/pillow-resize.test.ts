/** The page's resizing against the addon's, which crops.test.ts compares with Pillow's. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hashBytes } from '../testing/hash-fill.js';
import { resizeImage } from '../data/crops/crops.js';
import { pillowResize } from './pillow-resize.js';

test('resizes as Pillow does, to the bit', () => {
  const sizes = [
    [40, 30, 40, 30],
    [40, 30, 69, 52],
    [61, 47, 17, 200],
    [300, 200, 48, 32],
    [5, 7, 5, 3],
    [1, 1, 4, 6],
    [33, 9, 1, 1],
  ] as const;
  for (const [width, height, toWidth, toHeight] of sizes) {
    const data = hashBytes(`image ${width}`, [height, width, 3]);
    for (const filter of ['bilinear', 'bicubic'] as const) {
      const to = { width: toWidth, height: toHeight };
      const expected = resizeImage({ data, width, height, channels: 3 }, { ...to, filter });
      const got = pillowResize(data, { width, height }, to, filter);
      assert.ok(
        Buffer.from(expected).equals(got),
        `${width} x ${height} to ${toWidth} x ${toHeight}, ${filter}`,
      );
    }
  }
});
