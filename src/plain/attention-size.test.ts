import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ConfigError, DataError } from '../errors.js';
import { attentionSize, fittedSize, MAX_DEFAULT_PATCHES, patchesOf } from './attention-size.js';

const model = (imgSize: number, patchSize: number) => ({ architecture: { imgSize, patchSize } });

describe('the size of a picture of attention', () => {
  it('is at least one patch and at most 4,096 for an image of any shape', () => {
    for (const patchSize of [4, 8, 14, 16])
      for (const imgSize of [16, 32, 224])
        for (const long of [1, 7, 60, 600, 5000, 40_000, 1_000_000])
          for (const short of [1, 2, 7, 50, 600])
            for (const [width, height] of [
              [long, short],
              [short, long],
            ] as const) {
              const size = attentionSize(width, height, model(imgSize, patchSize), undefined);
              const said = `${width} x ${height}, patches of ${patchSize}, made for ${imgSize}: ${size.width} x ${size.height}`;
              assert.ok(size.width >= patchSize && size.height >= patchSize, said);
              // each side is rounded: at most a row and a column more
              const most = MAX_DEFAULT_PATCHES + size.width / patchSize + size.height / patchSize;
              assert.ok(patchesOf(size, patchSize) <= (size.isSqueezed ? MAX_DEFAULT_PATCHES : most), said);
              const [ratio, own] = [width / height, size.width / size.height];
              if (!size.isSqueezed) assert.ok(Math.abs(Math.log(ratio / own)) < 0.15, said);
            }
  });

  it('shortens the longer side of a strip, and says so', () => {
    assert.deepEqual(attentionSize(5000, 1, model(32, 8), undefined), {
      ...{ width: 4096 * 8, height: 8, isSqueezed: true },
    });
    assert.deepEqual(attentionSize(1, 1000, model(32, 8), undefined), {
      ...{ width: 16, height: 16_191, isSqueezed: false },
    });
    assert.deepEqual(attentionSize(1, 1000, model(32, 8), undefined, 576), {
      ...{ width: 8, height: 576 * 8, isSqueezed: true },
    });
  });

  it('that is given is kept as it is, or refused', () => {
    assert.deepEqual(attentionSize(90, 60, model(32, 8), 40), { width: 60, height: 40, isSqueezed: false });
    assert.throws(() => attentionSize(90, 60, model(32, 8), 4), ConfigError);
    for (const wanted of [64, [64, 27_424]] as const)
      assert.throws(
        () => attentionSize(3000, 7, model(32, 8), wanted),
        (error) => error instanceof DataError && /27424 patches, more than the 8192/.test(error.message),
      );
    assert.equal(attentionSize(3000, 7, model(32, 8), 64, 30_000).width, 27_429);
    assert.throws(() => attentionSize(90, 60, model(32, 8), 40, 34), /35 patches, more than the 34/);
  });

  it('that a page offers is computed of an image of any shape: as chosen, or the nearest that fits', () => {
    const sized = model(224, 16);
    assert.deepEqual(fittedSize(900, 600, sized, 480), {
      ...{ width: 720, height: 480, isSqueezed: false, limit: null },
    });
    // 10 : 1 at the exported page's usual size; 3 : 1 at the end of its slider, and at that of Look's
    for (const [long, side, most] of [
      [10, 480, 4096],
      [3, 960, 8192],
      [3, 1024, 4096],
    ] as const) {
      assert.throws(() => attentionSize(100 * long, 100, sized, side, most), DataError);
      const size = fittedSize(100 * long, 100, sized, side, most);
      const patches = patchesOf(size, 16);
      assert.ok(patches <= most && patches > 0.9 * most, `${long} : 1 has ${patches} patches`);
      assert.equal(size.limit, most);
      assert.ok(Math.abs(size.width / size.height / long - 1) < 0.01, `${size.width} x ${size.height}`);
    }
    // a size that is kept from a model with smaller patches
    assert.deepEqual(fittedSize(900, 600, sized, 8), {
      ...{ width: 24, height: 16, isSqueezed: false, limit: null },
    });
    assert.deepEqual(fittedSize(5000, 1, sized, 64), {
      ...{ width: 102_400, height: 20, isSqueezed: false, limit: 8192 },
    });
    assert.deepEqual(fittedSize(5000, 1, sized, 64, 4096), {
      ...{ width: 16 * 4096, height: 16, isSqueezed: true, limit: 4096 },
    });
    assert.equal(fittedSize(900, 600, sized, undefined).height, 480);
  });
});
