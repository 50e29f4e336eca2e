import assert from 'node:assert/strict';
import { cpSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import sharp from 'sharp';
import { ConfigError, DataError } from '../errors.js';
import { tensor } from '../torch/index.js';
import { loadModel, type Model } from '../model.js';
import { writeTinyRun } from '../testing/saved-run.js';
import { massMasks, writeAttention } from './attention.js';
import { heatMap, viridis } from '../plain/colors.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-attention-'));
const image = path.join(folder, 'a "b" 🦕.png');
let model: Model;
before(async () => {
  writeTinyRun(path.join(folder, 'run'));
  model = loadModel(path.join(folder, 'run'), { device: 'cpu' });
  const noise = Buffer.from(Array.from({ length: 60 * 90 * 3 }, (_, i) => (i * 7919) % 251));
  await sharp(noise, { raw: { width: 90, height: 60, channels: 3 } })
    .png()
    .toFile(image);
});
after(() => rmSync(folder, { recursive: true }));

describe('massMasks', () => {
  it('keeps the largest patches that hold the share, as visualize_attention.py does', () => {
    // by hand: sorted 0.1 0.2 0.3 0.4, running sums 0.1 0.3 0.6 1.0; kept where the sum is above 1 - threshold
    const maps = tensor([
      [0.3, 0.1, 0.4, 0.2],
      [1, 1, 1, 97],
    ]);
    assert.deepEqual(massMasks(maps, 0.75).toArray(), [1, 0, 1, 1, 0, 0, 0, 1]);
    assert.deepEqual(massMasks(maps, 0.35).toArray(), [0, 0, 1, 0, 0, 0, 0, 1]);
    assert.deepEqual(massMasks(maps, 1).toArray(), [1, 1, 1, 1, 1, 1, 1, 1]);
  });
});

describe('attention', () => {
  it('is the class row of the last block, at any size', async () => {
    const result = await model.attention(image, { imageSize: [50, 76], threshold: 0.6 });
    assert.deepEqual(
      [result.heads, result.rows, result.columns, result.height, result.width],
      [3, 6, 9, 48, 72],
    );
    assert.equal(result.maps.length, 3 * 6 * 9);
    // with its attention to itself a head's row sums to 1
    const sum = result.maps.subarray(0, 54).reduce((a, b) => a + b, 0);
    assert.ok(sum > 0.5 && sum < 1);
    const mean = (result.maps[7]! + result.maps[54 + 7]! + result.maps[108 + 7]!) / 3;
    assert.ok(Math.abs(result.mean[7]! - mean) < 1e-7);
    assert.ok(result.masks!.some((value) => value === 1) && result.masks!.some((value) => value === 0));
  });

  it("keeps the image's shape by default: 480/224 of the model's size on the shorter side", async () => {
    const result = await model.attention(image);
    // 32 * 480 / 224 = 68.6: 103 x 69 pixels, 12 x 8 patches of 8
    assert.deepEqual([result.rows, result.columns], [8, 12]);
    assert.equal(result.masks, null);
  });

  it('draws heads, mean, overlay and masks', async () => {
    const result = await model.attention(image, { imageSize: 40, threshold: 0.6 });
    const files = await writeAttention(result, path.join(folder, 'out'), { threshold: 0.6 });
    assert.deepEqual(
      files.map((file) => path.basename(file)),
      [
        'img.png',
        ...['attn-head0.png', 'attn-head1.png', 'attn-head2.png'],
        ...['attn-mean.png', 'overlay.png'],
        ...['mask_th0.6_head0.png', 'mask_th0.6_head1.png', 'mask_th0.6_head2.png'],
      ],
    );
    for (const file of files) {
      const { width, height } = await sharp(file).metadata();
      assert.deepEqual([width, height], [56 * 6, 40 * 6], 'enlarged to at least 240 pixels');
    }
    // the brightest patch of a head is viridis yellow, all over its pixels, 8 x 8 times 6 x 6
    const map = result.maps.subarray(0, result.rows * result.columns);
    const best = map.indexOf(Math.max(...map));
    const { data } = await sharp(files[1]).raw().toBuffer({ resolveWithObject: true });
    const [x, y] = [(best % result.columns) * 48 + 47, Math.floor(best / result.columns) * 48 + 47];
    assert.deepEqual([...data.subarray((y * 336 + x) * 3, (y * 336 + x) * 3 + 3)], viridis(1));
  });

  it('replaces its own pictures, and no others', async () => {
    const mine = path.join(folder, 'mine');
    mkdirSync(mine);
    const result = await model.attention(image, { imageSize: 16, threshold: 0.5 });
    await writeAttention(result, mine, { threshold: 0.5 });
    await writeAttention(result, mine, { threshold: 0.5 });
    for (const name of ['overlay.png', 'mask_th0.5_head2.png']) {
      const file = path.join(mine, name);
      // a copy made by another program, a text, a folder, and a link to a picture of ours elsewhere
      const others: (() => void)[] = [
        () => cpSync(image, file),
        () => writeFileSync(file, 'precious'),
        () => mkdirSync(file),
        () => symlinkSync(path.join(mine, 'img.png'), file),
      ];
      for (const put of others) {
        rmSync(file, { recursive: true });
        put();
        const before = statSync(path.join(mine, 'img.png')).ino;
        await assert.rejects(writeAttention(result, mine, { threshold: 0.5 }), (error: Error) => {
          assert.ok(error instanceof ConfigError);
          assert.ok(error.message.includes(name) && error.message.includes('mine-2'), error.message);
          return true;
        });
        assert.equal(statSync(path.join(mine, 'img.png')).ino, before, 'nothing was drawn');
      }
      rmSync(file, { recursive: true });
      await writeAttention(result, mine, { threshold: 0.5 });
    }
  });

  it('refuses what can not be drawn', async () => {
    await assert.rejects(model.attention(image, { threshold: 0 }), ConfigError);
    await assert.rejects(model.attention(image, { imageSize: 4 }), /at least 8 \(one patch\)/);
    await assert.rejects(model.attention(path.join(folder, 'absent.png')), DataError);
    const result = await model.attention(image, { imageSize: 16 });
    await assert.rejects(writeAttention(result, image), /can't be made/);
  });
});

describe('colours', () => {
  it('go from dark violet to yellow, and a flat map is dark', () => {
    const near = (a: number[], b: number[]) => a.every((value, i) => Math.abs(value - b[i]!) <= 6);
    assert.ok(near(viridis(0), [68, 1, 84]), viridis(0).join());
    assert.ok(near(viridis(0.5), [33, 145, 140]), viridis(0.5).join());
    assert.ok(near(viridis(1), [253, 231, 37]), viridis(1).join());
    assert.deepEqual([...heatMap(Float32Array.of(5, 5))], [...viridis(0), ...viridis(0)]);
  });
});
