import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { mean } from './mean.js';
import { verdictOn } from './quality.js';

const IMAGES = 1000;
/** Values of images, of which these found their view. */
const found = (isFound: (i: number) => boolean, images = IMAGES): number[] =>
  Array.from({ length: images }, (_, i) => (isFound(i) ? 1 : 0));

describe('verdictOn', () => {
  it('calls a mean difference within two standard errors alike', () => {
    const half = found((i) => i % 2 === 0);
    assert.equal(verdictOn(half, half), 'alike');
    // other images are found, 2 points more of them: 52% have 1.6 points of standard error each
    const others = found((i) => i % 2 === 1 || i < 40);
    assert.equal(mean(others), 0.52);
    assert.equal(verdictOn(half, others), 'alike');
    assert.equal(verdictOn(others, half), 'alike');
    const many = found((i) => i % 2 === 1 || i < 300);
    assert.deepEqual([verdictOn(half, many), verdictOn(many, half)], ['worse', 'better']);
  });

  it('compares image by image: the same 2 points are no chance when what was found is found again', () => {
    const half = found((i) => i % 2 === 0);
    const more = found((i) => i % 2 === 0 || i < 40);
    assert.deepEqual([mean(half), mean(more)], [0.5, 0.52]);
    assert.deepEqual([verdictOn(more, half), verdictOn(half, more)], ['better', 'worse']);
  });

  it('tells all from none, but nothing of fewer than 64 images', () => {
    assert.equal(
      verdictOn(
        found(() => true, 64),
        found(() => false, 64),
      ),
      'better',
    );
    assert.equal(
      verdictOn(
        found(() => true, 63),
        found(() => false, 63),
      ),
      null,
    );
  });
});
