import assert from 'node:assert/strict';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { readLabelImage, writeLabelImage } from './indexed-png.js';
import { ConfigError, DataError } from '../errors.js';
import { hashModel, type NetworkSize } from '../testing/hash-model.js';
import type { Model } from '../model.js';
import { evaluateAttentionSegmentation } from './attention-segmentation.js';

const fixtures = fileURLToPath(new URL('../../test/fixtures/video/', import.meta.url));
const { small, attentionSegmentation: expected } = JSON.parse(
  readFileSync(path.join(fixtures, 'video.json'), 'utf8'),
) as {
  small: NetworkSize;
  /** Similarities of every object with every head, by image. */
  attentionSegmentation: { size: [number, number]; images: Record<string, number[][]>; best: number };
};

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-jaccard-'));
const images = path.join(folder, 'images');
const masks = path.join(folder, 'masks');
let model: Model;
before(() => {
  for (const key of Object.keys(expected.images)) {
    const [name, frame] = key.split('/') as [string, string];
    mkdirSync(path.join(images, name), { recursive: true });
    mkdirSync(path.join(masks, name), { recursive: true });
    const from = (kind: string, file: string) => path.join(fixtures, 'davis', kind, '480p', name, file);
    cpSync(from('JPEGImages', `${frame}.jpg`), path.join(images, name, `${frame}.jpg`));
    cpSync(from('Annotations', `${frame}.png`), path.join(masks, name, `${frame}.png`));
  }
  model = hashModel(small);
});
after(() => {
  model.dispose();
  rmSync(folder, { recursive: true });
});

describe('evaluateAttentionSegmentation', () => {
  it("agrees with the reference's attention and the author's measure", async () => {
    const result = await evaluateAttentionSegmentation(model, { images, masks, imageSize: expected.size });
    assert.deepEqual([result.images, result.objects, result.withoutMask], [4, 6, 0]);
    assert.deepEqual(result.skipped, []);
    assert.ok(Math.abs(result.bestPerImage - 100 * expected.best) < 0.1, String(result.bestPerImage));
    // an image counts once, however many objects it has
    const heads = [0, 1, 2].map((head) => {
      const perImage = Object.values(expected.images).map(
        (objects) => objects.reduce((sum, object) => sum + object[head]!, 0) / objects.length,
      );
      return (100 * perImage.reduce((sum, value) => sum + value, 0)) / perImage.length;
    });
    result.heads.forEach((value, head) => assert.ok(Math.abs(value - heads[head]!) < 0.1, `head ${head}`));
    assert.equal(result.bestHead, Math.max(...result.heads));
  });

  it('takes all labels as one object when asked', async () => {
    const options = { images, masks, imageSize: expected.size, objects: 'foreground' } as const;
    const result = await evaluateAttentionSegmentation(model, options);
    assert.deepEqual([result.images, result.objects], [4, 4]);
  });

  it('leaves out pairs that do not fit, and says why', async () => {
    const bad = path.join(folder, 'bad');
    cpSync(masks, bad, { recursive: true });
    const all = (width: number, height: number, label: number) => ({
      ...{ width, height, labels: new Uint8Array(width * height).fill(label) },
    });
    writeLabelImage(path.join(bad, 'two', '00000.png'), all(7, 5, 1));
    writeLabelImage(path.join(bad, 'two', '00002.png'), all(150, 101, 0));
    writeFileSync(path.join(bad, 'tall', '00000.png'), 'no picture');
    const result = await evaluateAttentionSegmentation(model, { images, masks: bad, imageSize: 64 });
    assert.equal(result.images, 1);
    const reasons = result.skipped.map(({ reason }) => reason).join('\n');
    assert.match(reasons, /00000\.png has 7 x 5 pixels, its image 150 x 101/);
    assert.match(reasons, /the mask has no object/);
    assert.match(reasons, /it is not a PNG/);
    rmSync(path.join(bad, 'tall', '00002.png'));
    const options = { images, masks: bad, imageSize: 64 };
    await assert.rejects(evaluateAttentionSegmentation(model, options), /none of the 3 images can be used/);
  });

  it('counts the objects that are too small or cut off, and the masks without an image', async () => {
    const other = path.join(folder, 'small-objects');
    cpSync(masks, other, { recursive: true });
    const evaluate = (more: object = {}) =>
      evaluateAttentionSegmentation(model, { images, masks: other, imageSize: 64, ...more });
    const before = await evaluate();
    assert.deepEqual([before.tooSmall, before.withoutImage], [0, []]);
    const file = path.join(other, 'two', '00000.png');
    const mask = await readLabelImage(file);
    mask.labels[mask.labels.length - 1] = 9; // labels 3 to 8 are no objects
    writeLabelImage(file, mask);
    cpSync(file, path.join(other, 'two', 'stray.png'));
    const { tooSmall, withoutImage, objects, bestPerImage, skipped } = await evaluate();
    assert.deepEqual([tooSmall, objects, bestPerImage], [1, before.objects, before.bestPerImage]);
    assert.deepEqual(withoutImage, [path.join(other, 'two', 'stray.png')]);
    assert.deepEqual(skipped, []);
    mask.labels.fill(0);
    mask.labels[mask.labels.length - 1] = 9;
    writeLabelImage(file, mask);
    const one = await evaluate();
    assert.deepEqual([one.images, one.tooSmall, one.skipped.length], [3, 1, 1]);
    assert.match(
      one.skipped[0]!.reason,
      /its object is too small for a pixel at \d+x\d+, or in the strip at .* edge .*larger --image-size/,
    );
    mask.labels[mask.labels.length - 2] = 4;
    writeLabelImage(file, mask);
    const two = await evaluate();
    assert.match(two.skipped[0]!.reason, /its 2 objects are too small/);
    assert.equal(two.tooSmall, 2);
    assert.equal((await evaluate({ objects: 'foreground' })).tooSmall, 1);
  });

  it('warns once of photographs that are turned in a way that the size of their masks does not tell', async () => {
    const other = path.join(folder, 'turned');
    const warnings: string[] = [];
    const evaluate = async () => {
      const onWarning = (message: string) => warnings.push(message);
      return evaluateAttentionSegmentation(model, { images: other, masks, imageSize: 64, onWarning });
    };
    cpSync(images, other, { recursive: true });
    await evaluate();
    assert.deepEqual(warnings, []);
    for (const name of ['00000.jpg', '00002.jpg']) {
      const file = path.join(other, 'two', name);
      const upsideDown = await sharp(readFileSync(file)).withMetadata({ orientation: 3 }).toBuffer();
      writeFileSync(file, upsideDown);
    }
    assert.equal((await evaluate()).images, 4);
    assert.equal(warnings.length, 1);
    assert.match(warnings[0]!, /two.00000\.jpg: its orientation \(EXIF 3\) turns it, and that of 1 more/);
  });

  it('refuses folders without pairs and thresholds out of range', async () => {
    const other = path.join(folder, 'other');
    mkdirSync(other);
    writeLabelImage(path.join(other, 'cat.png'), { width: 1, height: 1, labels: Uint8Array.of(1) });
    await assert.rejects(
      evaluateAttentionSegmentation(model, { images, masks: other }),
      /has a mask in .*other/,
    );
    await assert.rejects(evaluateAttentionSegmentation(model, { images, masks, threshold: 0 }), ConfigError);
    await assert.rejects(
      evaluateAttentionSegmentation(model, { images: path.join(folder, 'no'), masks }),
      DataError,
    );
  });
});
