import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { galleryNames } from './gallery-names.js';

describe('names of images in an address', () => {
  it('lead back to their images, also where several have one name', () => {
    const images = ['a/1.png', 'b/1.png', 'a/1.png', 'c.png', 'a/1.png'].map((name) => ({ name }));
    const names = galleryNames(images);
    assert.deepEqual([...images.keys()].map(names.nameOf), ['a/1.png', 'b/1.png', 'row:2', 'c.png', 'row:4']);
    for (const row of images.keys()) assert.equal(names.rowOf(names.nameOf(row)), row);
    for (const other of ['d.png', 'row:5', 'row:', 'row:-1', 'given:1', ''])
      assert.equal(names.rowOf(other), null, other);
  });

  it('are found among very many without reading the others', () => {
    let reads = 0;
    const images = Array.from({ length: 50_000 }, (_, i) => ({
      get name() {
        reads++;
        return `photos/${i % 40_000}.png`;
      },
    }));
    const names = galleryNames(images);
    for (const row of [0, 39_999, 40_000, 49_999]) assert.equal(names.rowOf(names.nameOf(row)), row);
    assert.ok(reads <= 2 * images.length, `${reads} names were read of ${images.length} images`);
  });
});
