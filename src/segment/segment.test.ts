/** Segmenters from images with masks to a file and back, with a tiny model; PyTorch's own bilinear interpolation. */
import assert from 'node:assert/strict';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import sharp from 'sharp';
import { CheckpointError, ConfigError, DataError } from '../errors.js';
import { readLabelImage, writeLabelImage } from '../eval/indexed-png.js';
import { loadModel, Model } from '../model.js';
import { buildBackbone, IMAGENET, SAT493M } from '../models/index.js';
import { hashFill, hashValues } from '../testing/hash-fill.js';
import { writeOfficialWeights, writeTinyRun } from '../testing/saved-run.js';
import { fromTypedArray, liveTensors, ops, scope } from '../torch/index.js';
import { readSafetensors, writeSafetensors } from '../weights/safetensors.js';
import { fitSegmenter, type FitSegmenterOptions } from './fit-segmenter.js';
import { fitSegmentLayer, type LabelledGrid, NO_LABEL, POSITIONS } from './linear-layer.js';
import { gridSize, labelPixels, patchGrid } from './patch-grid.js';
import { PixelCounts } from './scores.js';
import { loadSegmenter, saveSegmenter } from './segmenter-file.js';
import { noTensorLeft } from '../testing/no-tensor-left.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-segment-'));
const at = (...parts: string[]) => path.join(folder, ...parts);
let model: Model;

/** A dark picture with a bright square, its mask with the square's value and a border of 255 around it. */
async function writePair(name: string, i: number, value = 3): Promise<void> {
  const [width, height] = [64, 48];
  const [left, top, side] = [4 + ((i * 11) % 28), 2 + ((i * 7) % 18), 24];
  const pixels = Buffer.alloc(width * height * 3, 30);
  const labels = new Uint8Array(width * height);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const depth = Math.min(x - left, y - top, left + side - 1 - x, top + side - 1 - y);
      const p = y * width + x;
      if (depth >= 0) pixels.fill(220, 3 * p, 3 * p + 3);
      labels[p] = depth > 0 ? value : depth === 0 ? 255 : 0;
    }
  for (const part of ['images', 'masks']) mkdirSync(path.dirname(at(part, name)), { recursive: true });
  await sharp(pixels, { raw: { width, height, channels: 3 } })
    .png()
    .toFile(at('images', `${name}.png`));
  writeLabelImage(at('masks', `${name}.png`), { width, height, labels });
}

before(async () => {
  writeTinyRun(at('run')).dispose();
  model = loadModel(at('run'), { device: 'cpu' });
  for (let i = 0; i < 6; i++) await writePair(`${i < 3 ? 'a' : 'b'}/${i}`, i);
});
after(() => {
  model.dispose();
  rmSync(folder, { recursive: true });
});

const fit = (options: Partial<FitSegmenterOptions> = {}) =>
  fitSegmenter(model, { images: at('images'), masks: at('masks'), size: 96, folds: 2, ...options });

describe('labelPixels', () => {
  it("is the argmax of PyTorch's bilinear interpolation", () => {
    for (const [rows, columns, classes, height, width] of [
      [3, 5, 4, 24, 40],
      [4, 2, 3, 33, 17],
      [5, 6, 2, 3, 4], // fewer pixels than patches
      [1, 1, 3, 5, 5],
    ] as const) {
      const logits = hashValues(`${rows}`, [rows * columns, classes]);
      const labels = labelPixels(logits, { rows, columns }, classes, { width, height });
      const expected = scope(() => {
        const image = fromTypedArray(logits, [rows * columns, classes])
          .t()
          .reshape([1, classes, rows, columns]);
        return ops.upsampleBilinear2d(image, [height, width], false).argmax(1).toArray();
      });
      const wrong = expected.filter((label, i) => label !== labels[i]).length;
      assert.ok(wrong <= 1, `${wrong} of ${labels.length}`); // float32 there, float64 here
    }
  });
});

describe('gridSize', () => {
  it('is whole patches near the wanted size, in about the image’s proportions, and never too many', () => {
    assert.deepEqual(gridSize({ width: 854, height: 480 }, 480, 16), { width: 848, height: 480 });
    assert.deepEqual(gridSize({ width: 100, height: 300 }, 50, 16), { width: 48, height: 144 });
    const long = gridSize({ width: 9000, height: 20 }, 480, 16);
    assert.ok((long.width / 16) * (long.height / 16) <= 4200 && long.height >= 16, JSON.stringify(long));
  });
});

describe('fitSegmentLayer', () => {
  const [rows, columns, width, classes] = [3, 4, 5, 3];
  const grids = [0, 1].map((n): LabelledGrid => {
    const words = hashValues(`labels ${n}`, [rows * columns * POSITIONS ** 2]);
    const labels = Uint8Array.from(words, (v) =>
      v > 0.8 ? NO_LABEL : Math.floor(((v + 1) / 1.8) * classes),
    );
    return { rows, columns, width, labels, features: hashValues(`features ${n}`, [rows * columns, width]) };
  });

  it('finds the minimum of the loss of interpolated logits: every small change makes it larger', async () => {
    const before = liveTensors();
    const penalty = 0.01;
    const layer = await fitSegmentLayer(grids, classes, { penalty, maxIterations: 500 });
    assert.ok(layer.converged);
    // standardized features, by hand
    const all = grids.flatMap(({ features }) => [...features]);
    const deviation = Array.from({ length: width }, (_, d) => {
      const own = all.filter((_, i) => i % width === d);
      const mean = own.reduce((sum, v) => sum + v, 0) / own.length;
      return Math.sqrt(own.reduce((sum, v) => sum + (v - mean) ** 2, 0) / own.length);
    });
    const objective = (weight: Float32Array, bias: Float32Array): number =>
      scope(() => {
        let [sum, count] = [0, 0];
        for (const grid of grids) {
          const logits = ops.addmm(
            fromTypedArray(bias, [classes]),
            fromTypedArray(grid.features, [rows * columns, width]),
            fromTypedArray(weight, [classes, width]).t(),
          );
          const image = logits.t().reshape([1, classes, rows, columns]);
          const large = ops.upsampleBilinear2d(image, [rows * POSITIONS, columns * POSITIONS], false);
          const logs = large.logSoftmax(1).toTypedArray() as Float32Array;
          grid.labels.forEach((label, i) => {
            if (label === NO_LABEL) return;
            sum -= logs[label * grid.labels.length + i]!;
            count++;
          });
        }
        const squares = weight.reduce((total, w, i) => total + (w * deviation[i % width]!) ** 2, 0);
        return sum / count + (penalty / 2) * squares;
      });
    const least = objective(layer.weight, layer.bias);
    for (let i = 0; i < classes * (width + 1); i++)
      for (const change of [-0.1, 0.1]) {
        const [weight, bias] = [layer.weight.slice(), layer.bias.slice()];
        if (i < weight.length) weight[i]! += change;
        else bias[i - weight.length]! += change;
        assert.ok(objective(weight, bias) > least, `${i} ${change}`);
      }
    noTensorLeft(before);
  });
});

describe('PixelCounts', () => {
  it('measures intersections over unions, without pixels that do not count', () => {
    const counts = new PixelCounts(3);
    counts.add(Uint8Array.of(0, 0, 0, 1, 1, 255), Uint8Array.of(0, 0, 1, 1, 0, 1));
    const { classes, meanIou, pixelAccuracy } = counts.report('validation', [0, 7, 9], ['a', 'b', 'c']);
    assert.deepEqual(
      classes.map(({ iou }) => iou),
      [2 / 4, 1 / 3, null],
    );
    assert.ok(Math.abs(meanIou - (1 / 2 + 1 / 3) / 2) < 1e-12);
    assert.equal(pixelAccuracy, 3 / 5);
  });
});

describe('fitSegmenter of other networks', () => {
  const SIZES = { embedDim: 32, depth: 3, numHeads: 2, patchSize: 8, imgSize: 32 } as const;
  for (const options of [
    { arch: 'dinov3_vit', ...SIZES },
    { arch: 'dinov2_vit_reg', ...SIZES, wholePatches: true },
    { arch: 'dinov3_convnext', embedDim: 64, depth: 6, numHeads: 0, patchSize: 32, imgSize: 32 },
    { arch: 'resnet_class_attention', embedDim: 32, depth: 3, numHeads: 8, patchSize: 8, imgSize: 32 },
  ] as const)
    it(`takes the patches of a ${options.arch}`, async () => {
      const backbone = hashFill(buildBackbone(options), 0.1).eval();
      using other = new Model(backbone, options, at('run'), 'cpu');
      const { segmenter, crossValidation } = await fitSegmenter(other, {
        ...{ images: at('images'), masks: at('masks'), size: 96, folds: 2 },
      });
      assert.equal(crossValidation!.images, 6);
      assert.ok(crossValidation!.pixelAccuracy > 0.7, String(crossValidation!.pixelAccuracy));
      const labels = await segmenter.segment(at('images', 'a', '0.png'));
      assert.deepEqual([labels.width, labels.height], [64, 48]);
    });

  it('of a network without patch features says plainly that it needs them', async () => {
    for (const options of [
      { arch: 'xcit_small_12_p16', embedDim: 384, depth: 12, numHeads: 8, patchSize: 16, imgSize: 32 },
      { arch: 'resnet', embedDim: 64, depth: 4, numHeads: 0, patchSize: 1, imgSize: 32 },
    ] as const) {
      using other = new Model(buildBackbone(options).eval(), options, at('run'), 'cpu');
      await assert.rejects(
        fitSegmenter(other, { images: at('images'), masks: at('masks') }),
        (error) =>
          error instanceof ConfigError &&
          error.message.includes(`a ResNet with class attention has; this model is ${options.arch}`),
      );
    }
  });

  it('of satellite images normalizes them as the model was trained', () => {
    const options = { arch: 'dinov3_vit', ...SIZES } as const;
    const image = {
      data: new Uint8Array(64 * 48 * 3).fill(120),
      width: 64,
      height: 48,
      channels: 3,
    } as const;
    const features = [IMAGENET, SAT493M].map((normalization) => {
      const backbone = hashFill(buildBackbone(options), 0.1).eval();
      backbone.normalization = normalization;
      using other = new Model(backbone, options, at('run'), 'cpu');
      return patchGrid(other, image, 96, 1).features;
    });
    assert.notDeepEqual(features[0], features[1]);
  });
});

describe('fitSegmenter', () => {
  it('finds bright squares, says how well, and leaves no tensors', async () => {
    const before = liveTensors();
    const parts = new Set<string>();
    const result = await fit({
      ...{
        classes: ['ground', 'square'],
        validationImages: at('images', 'b'),
        validationMasks: at('masks', 'b'),
      },
      onProgress: ({ part, done, total }) => parts.add(`${part} ${done === total}`),
    });
    const { crossValidation, validation, classes, ignore } = result;
    assert.equal(ignore, 255);
    assert.deepEqual(
      classes.map(({ value, name }) => [value, name]),
      [
        [0, 'ground'],
        [3, 'square'],
      ],
    );
    assert.ok(Math.abs(classes[0]!.share + classes[1]!.share - 1) < 1e-9);
    assert.equal(crossValidation!.images, 6);
    assert.ok(crossValidation!.meanIou > 0.8, String(crossValidation!.meanIou));
    assert.ok(validation!.images === 3 && validation!.meanIou > 0.85, String(validation!.meanIou));
    assert.ok(
      ['images true', 'fit true', 'validation true'].every((part) => parts.has(part)),
      [...parts].join(),
    );
    noTensorLeft(before);
  });

  it('takes 255 for the object where masks hold nothing but 0 and 255, or as told', async () => {
    for (let i = 0; i < 2; i++) await writePair(`binary/${i}`, i, 255);
    const binary = { images: at('images', 'binary'), masks: at('masks', 'binary') };
    const object = await fit(binary);
    assert.deepEqual([object.ignore, object.classes.map(({ value }) => value)], [null, [0, 255]]);
    await assert.rejects(
      fit({ ...binary, ignore: 255 }),
      /the masks hold only the value 0; .* at least 2 classes/,
    );
    const all = await fit({ ignore: null, images: at('images', 'a'), masks: at('masks', 'a') });
    assert.deepEqual(
      all.classes.map(({ value }) => value),
      [0, 3, 255],
    );
    for (const part of ['images', 'masks']) rmSync(at(part, 'binary'), { recursive: true });
  });

  it('names and counts what it leaves out, and refuses masks of other sizes with both', async () => {
    const [images, masks] = [at('odd', 'images'), at('odd', 'masks')];
    cpSync(at('images'), images, { recursive: true });
    cpSync(at('masks'), masks, { recursive: true });
    rmSync(path.join(masks, 'a', '0.png'));
    rmSync(path.join(images, 'a', '1.png'));
    writeFileSync(path.join(images, 'b', '3.png'), 'not a picture');
    const warnings: string[] = [];
    const result = await fit({ images, masks, folds: 0, onWarning: (message) => warnings.push(message) });
    const below = (files: readonly string[]) => files.map((file) => path.relative(at('odd'), file));
    assert.deepEqual(below(result.withoutMask), ['images/a/0.png']);
    assert.deepEqual(below(result.withoutImage), ['masks/a/1.png']);
    assert.deepEqual(below(result.skipped.map((one) => one.path)), ['images/b/3.png']);
    assert.deepEqual([result.images, result.crossValidation, warnings.length], [3, null, 0]);
    writeLabelImage(path.join(masks, 'b', '4.png'), {
      width: 10,
      height: 12,
      labels: new Uint8Array(120),
    });
    await assert.rejects(fit({ images, masks }), (error) => {
      assert.ok(error instanceof DataError);
      assert.match(
        error.message,
        /masks\/b\/4\.png has 10 x 12 pixels, its image .*images\/b\/4\.png 64 x 48/,
      );
      return true;
    });
  });

  it('says which class is too small for the patches', async () => {
    const masks = at('small', 'masks');
    cpSync(at('masks'), masks, { recursive: true });
    const file = path.join(masks, 'b', '3.png');
    const image = await readLabelImage(file);
    image.labels[0] = 7;
    writeLabelImage(file, image);
    const warnings: string[] = [];
    const given = { masks, folds: 0, onWarning: (message: string) => warnings.push(message) };
    await fit({ ...given, size: 96 });
    assert.deepEqual(warnings, []);
    await fit({ ...given, size: 32 });
    assert.equal(warnings.length, 1);
    assert.match(warnings[0]!, /not be found: 7 \(1 pixel\): .*try a larger --size than 32/);
  });

  it('refuses what it can not do', async () => {
    writeOfficialWeights(at('resnet.pth'), 'resnet18');
    using convolutional = loadModel(at('resnet.pth'), { device: 'cpu' });
    const given = { images: at('images'), masks: at('masks') };
    await assert.rejects(
      fitSegmenter(convolutional, given),
      /which a vision transformer, .* has; this model is resnet18/,
    );
    await assert.rejects(fit({ folds: 1, layers: 9, size: 2, validationImages: at('images') }), (error) => {
      assert.ok(error instanceof ConfigError);
      assert.equal(error.problems.length, 4);
      return true;
    });
    await assert.rejects(
      fit({ classes: ['one', 'two', 'three'] }),
      /3 names .*, but the masks hold 2 values: 0, 3/,
    );
    const reason = new Error('enough');
    const controller = new AbortController();
    const late = fit({
      signal: controller.signal,
      onProgress: ({ part }) => part === 'fit' && controller.abort(reason),
    });
    await assert.rejects(late, reason);
  });
});

describe('a segmenter in a file', () => {
  it('segments the same after it was moved, and writes masks and overlays by the images’ names', async () => {
    const { segmenter } = await fit({ folds: 0 });
    saveSegmenter(segmenter, at('deep', 'model.safetensors'));
    renameSync(at('deep', 'model.safetensors'), at('moved.safetensors'));
    using loaded = loadSegmenter(at('moved.safetensors'), { device: 'cpu' });
    const file = at('images', 'b', '4.png');
    const wanted = await segmenter.segment(file);
    assert.deepEqual(await loaded.segment(readFileSync(file)), wanted);
    const mixed = at('mixed');
    cpSync(at('images', 'b'), mixed, { recursive: true });
    writeFileSync(path.join(mixed, 'bad.png'), 'x');
    await sharp(file).jpeg().toFile(path.join(mixed, '4.jpg'));
    const result = await loaded.segmentAll(mixed, { output: at('out') });
    assert.deepEqual([result.images.length, result.skipped.length], [4, 1]);
    // two images of one name keep apart
    const masks = result.images.map(({ mask }) => path.relative(at('out'), mask));
    assert.deepEqual(masks.sort(), ['masks/3.png', 'masks/4.png', 'masks/4.png.png', 'masks/5.png']);
    const written = await readLabelImage(at('out', 'masks', '4.png.png'));
    assert.deepEqual([written.width, written.height], [64, 48]);
    assert.deepEqual(written.labels, wanted.labels);
    const { width, height } = await sharp(at('out', 'overlays', '5.jpg')).metadata();
    assert.deepEqual([width, height], [64, 48]);
    for (const { shares } of result.images) assert.ok(Math.abs(shares[0]! + shares[1]! - 1) < 1e-9);
    await loaded.segmentAll([file], { output: at('plain'), overlays: false });
    assert.ok(!existsSync(at('plain', 'overlays')));
    await assert.rejects(
      loaded.segmentAll([Buffer.from('x')], { output: at('unread') }),
      /none of the 1 images can be read; the first: bytes\[0\]: /,
    );
  });

  it('replaces no masks and overlays, and goes through no link', async () => {
    const { segmenter } = await fit({ folds: 0 });
    const images = at('kept', 'images');
    cpSync(at('images', 'b'), images, { recursive: true });
    cpSync(at('masks', 'b'), at('kept', 'masks'), { recursive: true });
    const drawn = readFileSync(at('kept', 'masks', '4.png'));
    let isStarted = false;
    const onProgress = (): void => void (isStarted = true);
    await assert.rejects(segmenter.segmentAll(images, { output: at('kept'), onProgress }), (error) => {
      assert.ok(error instanceof ConfigError);
      assert.match(error.message, /kept\/masks is not empty: give a new folder, .*kept-2 is not taken/);
      return true;
    });
    mkdirSync(at('other', 'overlays'), { recursive: true });
    writeFileSync(at('other', 'overlays', '4.jpg'), 'mine');
    await assert.rejects(
      segmenter.segmentAll(images, { output: at('other'), onProgress }),
      /other\/overlays/,
    );
    assert.ok(!isStarted);
    assert.deepEqual(readFileSync(at('kept', 'masks', '4.png')), drawn);
    // only what is written must be free
    await segmenter.segmentAll(images, { output: at('other'), overlays: false });
    assert.equal(readFileSync(at('other', 'overlays', '4.jpg'), 'utf8'), 'mine');
    // a link that is there when the file is written
    symlinkSync(at('kept', 'masks', '4.png'), at('link.png'));
    writeLabelImage(at('link.png'), { width: 1, height: 1, labels: Uint8Array.of(1) });
    assert.deepEqual(readFileSync(at('kept', 'masks', '4.png')), drawn);
  });

  it('is refused when it is damaged', async () => {
    const { segmenter } = await fit({ folds: 0 });
    saveSegmenter(segmenter, at('model.safetensors'));
    const { tensors, metadata } = readSafetensors(at('model.safetensors'));
    const description = JSON.parse(metadata['dino_segmenter']!) as { classes: object[] };
    const broken = (change: object) => (): unknown => {
      const made = { ...metadata, dino_segmenter: JSON.stringify({ ...description, ...change }) };
      writeSafetensors(at('broken.safetensors'), tensors, made);
      return loadSegmenter(at('broken.safetensors'), { device: 'cpu' });
    };
    const [first, second] = description.classes;
    for (const [load, expected] of [
      [broken({ classes: [first, second, { value: 9, name: 'x' }] }), /weight is float32\[2, 24\]/],
      [broken({ classes: [first, first] }), /two classes have the same value/],
      [broken({ layers: 30 }), /fewer blocks/],
      [broken({ size: 1e6 }), /description is damaged/],
      [broken({ backbone: '0'.repeat(64) }), /its backbone has changed/],
    ] as const)
      assert.throws(load, (error) => {
        assert.ok(error instanceof CheckpointError, String(error));
        assert.match(error.message, expected);
        return true;
      });
    assert.throws(
      () => loadSegmenter(at('run', 'checkpoints', 'step-00000012', 'teacher.safetensors')),
      /holds no segmenter: make one with dino segment fit/,
    );
  });
});
