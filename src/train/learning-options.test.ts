/** Options that change how a student begins or what it sees first: stems, dropped patches, low resolution, whitened patches. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import sharp from 'sharp';
import { type ImageItems, listImages, ViewLoader } from '../data/index.js';
import { ConfigError } from '../errors.js';
import { readLines } from '../files/json-lines.js';
import { buildBackbone, normalizeImages, pixelTensor, RGB_INPUT } from '../models/index.js';
import { newestCheckpoint } from '../run/checkpoint-files.js';
import { savedSettingsSchema, type TrainSettings } from '../run/settings.js';
import { makeImageFolder } from '../testing/image-folder.js';
import { fingerprint } from '../testing/run-fingerprint.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { Generator, ops, scope, type Tensor, withGenerators } from '../torch/index.js';
import { readSafetensors } from '../weights/safetensors.js';
import { checkTogether } from './config.js';
import type { TrainEvent } from './events.js';
import { resolveSettings, type TrainFacts } from './presets.js';
import { buildSchedules } from './schedules.js';
import { train } from './train.js';
import { whitenPatches } from './whiten-patches.js';

let folder = '';
let images = '';
const at = (name: string): string => path.join(folder, name);
before(async () => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'dino-learning-options-'));
  images = at('images');
  await makeImageFolder(images, { classes: 2, perClass: 9 }); // 3 steps of 5 in an epoch
});
after(() => rmSync(folder, { recursive: true, force: true }));

describe('a run stopped at any step and resumed equals an uninterrupted one, to the bit', () => {
  const cases: readonly [name: string, changes: Partial<TrainSettings>, stops: readonly number[]][] = [
    [
      'a transformer with all of them, stopped on both sides of the change of size, and at it',
      { arch: 'vit_conv', patchDropRate: 0.3, lowResEpochs: 1, patchInit: 'whitened' },
      [2, 3, 4],
    ],
    [
      'a ResNet, which has neither stem nor patches',
      { arch: 'resnet', embedDim: 64, depth: 4, numHeads: undefined, patchInit: 'whitened', lowResEpochs: 2 },
      [2],
    ],
  ];
  for (const [i, [name, changes, stops]] of cases.entries())
    test(name, async () => {
      const { numHeads, ...others } = { ...TINY_SETTINGS, ...changes };
      const settings = (numHeads === undefined ? others : { ...others, numHeads }) as TrainSettings;
      const whole = at(`whole-${i}`);
      await train({ images, output: whole, settings });
      const expected = fingerprint(whole);
      for (const stop of stops) {
        const run = at(`stopped-${i}-${stop}`);
        const controller = new AbortController();
        const first = await train({
          ...{ images, output: run, settings, signal: controller.signal },
          onEvent: (event) => {
            if (event.type === 'step' && event.step === stop) controller.abort();
          },
        });
        assert.equal(first.interrupted, true);
        const events: TrainEvent[] = [];
        await train({ output: run, resume: true, onEvent: (event) => events.push(event) });
        assert.deepEqual(fingerprint(run), expected, `stopped at step ${stop}`);
        assert.ok(!events.some(({ type }) => type === 'whitened'), 'weights come from the checkpoint');
      }
      // schedules and learned positions are those of a run at full size
      const planned = buildSchedules(
        { ...settings, lowResEpochs: 0 },
        { batchSize: 5, stepsPerEpoch: 3 },
        [],
      );
      const logged = readLines(path.join(whole, 'metrics.jsonl')).map(({ lr }) => lr);
      assert.deepEqual(logged, [...planned.lr]);
      const { tensors } = readSafetensors(path.join(newestCheckpoint(whole)!, 'student.safetensors'));
      if (settings.arch === 'vit_conv')
        assert.deepEqual(tensors.get('backbone.pos_embed')!.shape, [1, 17, 32]);
    });
});

describe('whitened patches', () => {
  const rowsOf = (weight: Tensor): Tensor => weight.detach().flatten(1).to('float64');
  const settings = { ...TINY_SETTINGS, patchInit: 'whitened' } as const;
  const whiten = async (options: Parameters<typeof buildBackbone>[0]) => {
    const generators = [new Generator('cpu').manualSeed(1)];
    const backbone = withGenerators(generators, () => buildBackbone(options));
    const random = new Map([...backbone.stateDict()].map(([name, tensor]) => [name, tensor.clone()]));
    const { items } = await listImages(images);
    const found = await whitenPatches(backbone, settings, items, { generators });
    return { backbone, random, found, items };
  };

  /** Patches that the filters were made from, (n, d). */
  const patchesOf = async (items: ImageItems, kernel: number): Promise<Tensor> => {
    const { globalCropsSize: crop, seed } = settings;
    const augmentation = { ...settings, globalBlurProbability1: 0 };
    const loader = new ViewLoader({ items, crop, seed, view: 0, augmentation, batchSize: 18, numWorkers: 0 });
    for await (const batch of loader) {
      const rows = scope(() => {
        const pixels = pixelTensor(batch.images, RGB_INPUT, { width: crop, height: crop }, 'cpu');
        const columns = ops.im2col(
          normalizeImages(pixels),
          [kernel, kernel],
          [1, 1],
          [0, 0],
          [kernel, kernel],
        );
        return columns.transpose(1, 2).flatten(0, 1).to('float64');
      });
      batch.release();
      await loader.close();
      return rows;
    }
    assert.fail('no patches');
  };

  test('of a transformer: tokens are centred, as strong as those of random filters, and nearly uncorrelated', async () => {
    const sizes = { arch: 'vit', patchSize: 4, imgSize: 32, embedDim: 64, depth: 1, numHeads: 2 };
    const [name, biasName] = ['patch_embed.proj.weight', 'patch_embed.proj.bias'];
    const { backbone, random, found, items } = await whiten(sizes);
    assert.deepEqual(found, { images: 18, patches: 18 * 64, filters: 64, of: 64 });
    const again = await whiten(sizes);
    const state = backbone.stateDict();
    assert.deepEqual(again.backbone.stateDict().get(name)!.toArray(), state.get(name)!.toArray());
    const patches = await patchesOf(items, 4);
    scope(() => {
      /** Mean, variances of the principal directions from the largest on, of filters' outputs. */
      const outputs = (of: ReadonlyMap<string, Tensor>) => {
        const tokens = patches.matmul(rowsOf(of.get(name)!).t()).add(of.get(biasName)!.detach());
        const mean = tokens.mean([0]);
        const centred = tokens.sub(mean);
        const [variances] = ops.linalgEigh(centred.t().matmul(centred).div(tokens.size(0)));
        return { mean: mean.abs().max().item(), variances: variances.toArray().reverse() };
      };
      const [before, after] = [outputs(random), outputs(state)];
      const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
      assert.ok(after.mean < 1e-4, String(after.mean));
      assert.ok(before.mean > 1e-2);
      assert.ok(Math.abs(sum(after.variances) / sum(before.variances) - 1) < 1e-3);
      const share = ({ variances }: { variances: readonly number[] }): number =>
        variances[0]! / sum(variances);
      assert.ok(share(before) > 0.5, 'one direction holds most of what random filters see');
      assert.ok(share(after) < 0.1, `${share(after)}`);
      assert.ok(after.variances[48]! < 1e-6 * after.variances[0]!, 'a patch has 48 values');
    });
  });

  test('before a ReLU every component has both signs, and what is left over stays random', async () => {
    const { backbone, random, found } = await whiten({ arch: 'resnet', embedDim: 8 * 60, depth: 4 });
    assert.deepEqual([found.filters, found.of], [54, 60]); // 27 values in a patch of 3 x 3
    scope(() => {
      const filters = rowsOf(backbone.stateDict().get('conv1.weight')!);
      assert.deepEqual(filters.slice(0, 0, 27).toArray(), filters.slice(0, 27, 54).neg().toArray());
      const left = rowsOf(random.get('conv1.weight')!).slice(0, 54);
      assert.deepEqual(filters.slice(0, 54).toArray(), left.toArray());
    });
    const stem = await whiten({
      arch: 'vit_conv',
      patchSize: 4,
      imgSize: 32,
      embedDim: 64,
      depth: 1,
      numHeads: 2,
    });
    assert.deepEqual([stem.found.filters, stem.found.of], [32, 32]);
  });

  test('images without a difference between their patches are refused', async () => {
    const plain = at('plain');
    mkdirSync(plain);
    for (let i = 0; i < 6; i++)
      await sharp({ create: { width: 40, height: 40, channels: 3, background: '#808080' } })
        .png()
        .toFile(path.join(plain, `${i}.png`));
    const flat = { ...settings, colorJitterProbability: 0, grayscaleProbability: 0, solarizeProbability: 0 };
    await assert.rejects(
      train({ images: plain, output: at('plain-run'), settings: flat }),
      (error) => error instanceof ConfigError && /the patches of 6 images don't differ/.test(error.message),
    );
  });
});

describe('what can’t be combined is refused, and auto fits the rest', () => {
  const whole = { ...TINY_SETTINGS };
  const problem = (changes: Partial<TrainSettings>): string =>
    checkTogether({ ...whole, ...changes }).join('; ');
  test('in words', () => {
    assert.equal(problem({}), '');
    assert.match(
      problem({ arch: 'vit_conv', patchSize: 12, globalCropsSize: 36, localCropsSize: 12 }),
      /take 2, 4, 8/,
    );
    assert.match(
      problem({ arch: 'xcit_small_12_p8', patchDropRate: 0.5 }),
      /needs all of its patches; vit_\*, vit, dinov2_\* and resnet_class_attention may drop some/,
    );
    assert.match(
      problem({ lowResEpochs: 1, localCropsSize: 8 }),
      /half of localCropsSize 8 is not whole patches of 8 pixels; use a multiple of 16/,
    );
    assert.equal(problem({ lowResEpochs: 1, localCropsSize: 8, localCropsNumber: 0 }), '');
    assert.match(problem({ lowResEpochs: 4 }), /lowResEpochs 4 is more than epochs 3/);
    assert.match(
      problem({ patchInit: 'whitened', init: 'weights.pth' }),
      /the weights that the run begins with have a patch embedding/,
    );
  });

  test('auto takes patches that a convolutional stem can make', () => {
    for (const side of [32, 48, 64, 100, 224]) {
      const facts: TrainFacts = {
        device: 'cpu',
        cores: 2,
        memoryGiB: 16,
        images: 4000,
        width: side,
        height: side,
      };
      const { settings } = resolveSettings({ facts, flags: { arch: 'vit_conv' } });
      assert.ok(
        Number.isInteger(Math.log2(settings.patchSize)) && settings.patchSize > 1,
        String(settings.patchSize),
      );
    }
  });

  test('a run of an older version goes on without them', () => {
    const { patchDropRate, patchInit, lowResEpochs, ...older } = whole;
    assert.deepEqual([patchDropRate, patchInit, lowResEpochs], [0, 'random', 0]);
    assert.deepEqual(savedSettingsSchema.parse(older), whole);
  });
});
