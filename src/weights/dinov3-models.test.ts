/** Small DINOv3 networks through what uses a model: saved, loaded, described, embedded, classified, looked at, trained. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { formatDescription } from '../cli/weights/describe.js';
import { ConfigError } from '../errors.js';
import { evaluateKnn } from '../eval/knn.js';
import { evaluateLinear } from '../eval/linear.js';
import { lookAt } from '../explain/look.js';
import { patchPca } from '../explain/patch-pca.js';
import { buildIndex } from '../explore/build-index.js';
import { ImageIndex } from '../explore/image-index.js';
import { searchIndex } from '../explore/search.js';
import { loadModel } from '../model.js';
import { buildBackbone } from '../models/index.js';
import { hashFill } from '../testing/hash-fill.js';
import { writeColourFolders } from '../testing/saved-run.js';
import { inferenceMode, rand, scope } from '../torch/index.js';
import { settingsOfInit } from '../train/init.js';
import { resolveSettings } from '../train/presets.js';
import { train } from '../train/train.js';
import { describeWeights } from './describe.js';
import { exportWeights } from './export-weights.js';
import { writeSafetensors } from './safetensors.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-dinov3-models-'));
const images = path.join(folder, 'images');
before(() => writeColourFolders(images, 3));
after(() => rmSync(folder, { recursive: true }));
const picture = path.join(images, 'red', 'red 0.png');

const KINDS = [
  { arch: 'dinov3_vit', embedDim: 64, depth: 2, numHeads: 2, patchSize: 8 },
  { arch: 'dinov3_convnext', embedDim: 64, depth: 6 },
] as const;

for (const { arch, ...sizes } of KINDS) {
  const isTransformer = arch === 'dinov3_vit';
  const file = path.join(folder, `${arch}.safetensors`);
  before(() => {
    const network = hashFill(buildBackbone({ arch, ...sizes }), 0.1);
    writeSafetensors(file, network.stateDict(), { format: 'pt' });
    network.dispose();
  });

  describe(arch, () => {
    const seen = { resize: 64, crop: 64, numWorkers: 0 };

    it('is exported with the original’s names, and read back to the same features', () => {
      const batch = rand([2, 3, 64, 40]);
      const featuresOf = (weights: string): number[] => {
        using model = loadModel(weights, { device: 'cpu' });
        assert.equal(model.architecture.arch, arch);
        return scope(() => inferenceMode(() => model.backbone.forward(batch).toArray()));
      };
      const expected = featuresOf(file);
      for (const format of ['pth', 'safetensors'] as const) {
        const output = path.join(folder, `exported-${arch}.${format}`);
        const { tensors } = exportWeights(file, { format, output });
        // of a ConvNeXt the last norm twice, as in the original's files
        assert.equal(tensors, isTransformer ? 38 : 74);
        assert.deepEqual(describeWeights(output).unused, []);
        assert.deepEqual(featuresOf(output), expected);
      }
      assert.throws(
        () => exportWeights(file, { format: 'pth', output: `${file}.pth`, imageSize: 64 }),
        /has none/,
      );
    });

    it('is described', () => {
      const { architecture, headsAreGuess, backboneParameters } = describeWeights(file);
      const expected = isTransformer ? [64, 2, 2, 8] : [64, 6, 0, 32];
      const { embedDim, depth, numHeads, patchSize } = architecture;
      assert.deepEqual([embedDim, depth, numHeads, patchSize, headsAreGuess], [...expected, false]);
      const network = buildBackbone({ arch, ...sizes });
      let parameters = isTransformer ? 64 : 0; // the mask token
      for (const { numel } of network.parameters()) parameters += numel;
      assert.equal(backboneParameters, parameters);
      assert.match(formatDescription(describeWeights(file)), new RegExp(`${arch}: width 64`));
      if (isTransformer) assert.throws(() => describeWeights(file, { numHeads: 4 }), /which has 2/);
    });

    it('embeds the class token, the patches without storage tokens, and their mean', async () => {
      using model = loadModel(file, { device: 'cpu' });
      const patches = isTransformer ? 64 : 4;
      const [cls, all, mean] = await Promise.all(
        (['cls', 'patches', 'patch-mean'] as const).map((features) =>
          model.embed(images, { ...seen, features }),
        ),
      );
      assert.deepEqual(
        [cls!.shape, all!.shape, mean!.shape],
        [
          [9, 64],
          [9, patches, 64],
          [9, 64],
        ],
      );
      for (let i = 0; i < 64; i++) {
        let sum = 0;
        for (let patch = 0; patch < patches; patch++) sum += all!.features[patch * 64 + i]!;
        assert.ok(Math.abs(sum / patches - mean!.features[i]!) < 1e-5);
      }
      const two = model.embed(images, { ...seen, layers: 2 });
      if (isTransformer) assert.deepEqual((await two).shape, [9, 128]);
      else await assert.rejects(two, /layers 2; expected 1: of dinov3_convnext only the last stage/);
    });

    it('classifies by neighbours and by a linear classifier', async () => {
      using model = loadModel(file, { device: 'cpu' });
      const data = { train: images, val: images, ...seen };
      const { top1 } = await evaluateKnn(model, { ...data, k: [1] });
      assert.equal(top1[1], 100);
      const output = path.join(folder, `linear-${arch}`);
      const { top1: linear, classes } = await evaluateLinear(model, {
        ...data,
        epochs: 2,
        batchSize: 3,
        output,
      });
      assert.ok(linear >= 0 && classes === 3);
    });

    it('shows attention, or says why not and what to try', async () => {
      using model = loadModel(file, { device: 'cpu' });
      const shown = model.attention(picture, { imageSize: [32, 48] });
      const looked = lookAt(model, [picture], { imageSize: [32, 48] });
      if (isTransformer) {
        const { heads, rows, columns, maps } = await shown;
        assert.deepEqual([heads, rows, columns, maps.length], [2, 4, 6, 48]);
        const sum = maps.subarray(0, 24).reduce((total, value) => total + value, 0);
        assert.ok(sum > 0.1 && sum < 1, 'the class and storage tokens take the rest');
        const [image] = (await looked).images;
        assert.equal(image!.features!.length, 24 * 64);
        return;
      }
      for (const refused of [shown, looked])
        await assert.rejects(
          refused,
          (error) =>
            error instanceof ConfigError &&
            /dinov3_convnext has no attention to show: it is made of convolutions. Use a vision/.test(
              error.message,
            ),
        );
    });

    it('paints patches by their principal components', async () => {
      using model = loadModel(file, { device: 'cpu' });
      const { images: painted } = await patchPca(model, [picture], { imageSize: [64, 96] });
      assert.equal(painted[0]!.colours.length, 3 * (isTransformer ? 96 : 6));
    });

    it('makes an index, and finds an image by itself', async () => {
      using model = loadModel(file, { device: 'cpu' });
      const output = path.join(folder, `${arch}.index`);
      await buildIndex(model, images, { ...seen, output });
      using index = ImageIndex.open(output);
      const [found] = await searchIndex(index, { plus: [readFileSync(picture)], top: 1, model });
      assert.match(path.basename(found!.path), /^red/);
    });

    it('trains from its weights, stopped and resumed to the same bits', async () => {
      const { settings } = resolveSettings({
        preset: 'paper',
        flags: {
          ...settingsOfInit({ init: file }),
          ...{ init: file, epochs: '1', batchSize: '3', outDim: '16', headHiddenDim: '16' },
          ...{ headBottleneckDim: '8', globalCropsSize: '64', localCropsSize: '32', localCropsNumber: '2' },
          ...{ warmupEpochs: '0', warmupTeacherTempEpochs: '0', precision: 'fp32', device: 'cpu' },
          ...{ numWorkers: '1', threads: '1', dropPathRate: '0.2' },
        },
      });
      assert.equal(settings.arch, arch);
      const [whole, parted] = ['whole', 'parted'].map((name) => path.join(folder, `${arch}-${name}`)) as [
        string,
        string,
      ];
      const first = await train({ images, output: whole, settings });
      const stop = new AbortController();
      await train({
        ...{ images, output: parted, settings, signal: stop.signal },
        onEvent: (event) => {
          if (event.type === 'step' && event.step === 1) stop.abort();
        },
      });
      const second = await train({ output: parted, resume: true });
      const read = ({ checkpoint }: { checkpoint: string }, key: string): Buffer =>
        readFileSync(path.join(checkpoint, `${key}.safetensors`));
      for (const key of ['student', 'teacher']) assert.ok(read(first, key).equals(read(second, key)), key);
      assert.ok(!read(first, 'student').equals(read(first, 'teacher')));
      using model = loadModel(whole, { device: 'cpu' });
      assert.equal(model.architecture.arch, arch);
      if (!isTransformer) return;
      const { maps } = await model.attention(picture, { imageSize: 32 });
      assert.ok(maps.every(Number.isFinite));
    });
  });
}

it('settings that do not fit are named before a training begins', () => {
  const problems = (flags: Record<string, string>): string => {
    try {
      resolveSettings({ preset: 'paper', flags });
      return '';
    } catch (error) {
      return (error as Error).message;
    }
  };
  assert.match(
    problems({ arch: 'dinov3_convnext_tiny', localCropsSize: '16' }),
    /images of at least 32 pixels/,
  );
  assert.match(
    problems({ arch: 'dinov3_vits16', numHeads: '3' }),
    /arch dinov3_vits16 defines its own; one that takes it: vit, .*dinov3_vit/,
  );
  const vit = { arch: 'dinov3_vit', depth: '2', patchSize: '16' };
  assert.match(problems({ ...vit, embedDim: '12', numHeads: '2' }), /multiples of four times numHeads \(8\)/);
  assert.match(problems({ arch: 'dinov3_convnext', embedDim: '64', depth: '4' }), /takes multiples of 6/);
});
