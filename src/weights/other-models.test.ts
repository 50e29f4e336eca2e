/** ResNets, XCiTs and one's own backbone: told apart, saved, loaded, described, used. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { CheckpointError, ConfigError } from '../errors.js';
import { evaluateKnn } from '../eval/knn.js';
import { Backbone, buildBackbone } from '../models/index.js';
import { BatchNorm, Conv2d } from '../nn/index.js';
import { resolveSettings } from '../train/presets.js';
import { train } from '../train/train.js';
import { readFixture } from '../testing/fixtures.js';
import { writeColourFolders } from '../testing/saved-run.js';
import { inferenceMode, rand, scope, type Tensor } from '../torch/index.js';
import { inferArchitecture } from './architecture.js';
import { formatDescription } from '../cli/weights/describe.js';
import { describeWeights } from './describe.js';
import { exportWeights } from './export-weights.js';
import { loadModel } from '../model.js';
import { writeSafetensors } from './safetensors.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-other-models-'));
const images = path.join(folder, 'images');
before(() => writeColourFolders(images, 3));
after(() => rmSync(folder, { recursive: true }));

it('tells every architecture from the original’s names and shapes, with or without a classifier', () => {
  for (const family of ['resnet', 'xcit']) {
    for (const [name, { state }] of Object.entries(
      readFixture<{ state?: [string, number[]][] }>(family).cases,
    )) {
      if (state === undefined) continue;
      const shapes = new Map([...state, ['fc.weight', [1000, 512]] as const]);
      assert.equal(inferArchitecture(shapes, 'file').arch, name);
    }
  }
  const short = new Map([['layer1.0.conv1.weight', [64, 64, 3, 3]]]);
  assert.throws(
    () => inferArchitecture(short, 'file'),
    /ResNet of width 0 with 1, 0, 0, 0 blocks.*resnet101/s,
  );
  const odd = new Map([
    ['blocks.0.attn.temperature', [8, 1, 1]],
    ['cls_token', [1, 1, 100]],
  ]);
  assert.throws(() => inferArchitecture(odd, 'file'), /XCiT of width 100 with 1 blocks/);
});

for (const arch of ['resnet18', 'xcit_small_12_p16']) {
  describe(arch, () => {
    const file = path.join(folder, `${arch}.safetensors`);
    const batch = rand([2, 3, 48, 32]);
    let expected: number[];
    before(() => {
      const network = buildBackbone({ arch }).eval();
      expected = scope(() => inferenceMode(() => network.forward(batch).toArray()));
      writeSafetensors(file, network.stateDict(), { format: 'pt' });
      network.dispose();
    });

    it('is saved and loaded to the same features, as safetensors and as .pth', () => {
      const pth = path.join(folder, `${arch}.pth`);
      exportWeights(file, { format: 'pth', output: pth });
      for (const weights of [file, pth]) {
        using model = loadModel(weights, { device: 'cpu' });
        assert.equal(model.architecture.arch, arch);
        const features = scope(() => inferenceMode(() => model.backbone.forward(batch).toArray()));
        assert.deepEqual(features, expected);
      }
      const resized = { format: 'pth', output: pth, imageSize: 64 } as const;
      assert.throws(() => exportWeights(file, resized), /has none/);
    });

    it('is described, embeds, and classifies by neighbours', async () => {
      const described = describeWeights(file);
      assert.equal(described.architecture.arch, arch);
      assert.match(formatDescription(described), new RegExp(`architecture  ${arch}: width`));
      using model = loadModel(file, { device: 'cpu' });
      const sizes = { resize: 40, crop: 32 };
      const { shape } = await model.embed(images, { ...sizes, numWorkers: 0 });
      assert.deepEqual(shape, [9, model.embedDim]);
      const wanted = { ...sizes, features: 'patches' as const, numWorkers: 0 };
      await assert.rejects(model.embed(images, wanted), /needs the features of patches/);
      const { top1 } = await evaluateKnn(model, {
        ...{ train: images, val: images, k: [1], numWorkers: 0 },
        ...sizes,
      });
      assert.equal(top1[1], 100);
    });

    it('shows attention where it has some', async () => {
      using model = loadModel(file, { device: 'cpu' });
      const image = path.join(images, 'red', 'red 0.png');
      const shown = model.attention(image, { imageSize: [32, 48] });
      if (arch === 'resnet18') {
        await assert.rejects(
          shown,
          (error) => error instanceof ConfigError && /resnet18 has no attention/.test(error.message),
        );
      } else {
        const { heads, rows, columns, maps } = await shown;
        assert.deepEqual([heads, rows, columns, maps.length], [8, 2, 3, 48]);
      }
    });
  });
}

class Own extends Backbone {
  override readonly embedDim = 8;
  readonly conv = new Conv2d(3, 8, 3, { stride: 2, bias: false });
  readonly bn = new BatchNorm(8);
  override forward(x: Tensor): Tensor {
    return this.bn.forward(this.conv.forward(x)).relu().mean([2, 3]); // (B, 8)
  }
}

const settingsOf = (arch: string): ReturnType<typeof resolveSettings>['settings'] =>
  resolveSettings({
    preset: 'paper',
    flags: {
      ...{ arch, epochs: '1', batchSize: '3', outDim: '16', headHiddenDim: '16', headBottleneckDim: '8' },
      ...{ globalCropsSize: '32', localCropsSize: '16', localCropsNumber: '2', warmupEpochs: '0' },
      ...{ warmupTeacherTempEpochs: '0', precision: 'fp32', device: 'cpu', numWorkers: '1', knnEvery: '1' },
      ...{ knnTrain: images, knnVal: images, threads: '1' },
    },
  }).settings;

for (const [arch, backbone] of [
  ['resnet18', undefined],
  ['custom', () => new Own()],
] as const) {
  it(`trains ${arch}: norms saved with each network, stopped and resumed to the same bits, k-NN on the way`, async () => {
    const own = backbone === undefined ? {} : { backbone };
    const [whole, parted] = ['whole', 'parted'].map((name) => path.join(folder, `${arch}-${name}`)) as [
      string,
      string,
    ];
    const settings = settingsOf(arch);
    const first = await train({ images, output: whole, settings, ...own });
    const stop = new AbortController();
    await train({
      ...{ images, output: parted, settings, signal: stop.signal, ...own },
      onEvent: (event) => {
        if (event.type === 'step' && event.step === 1) stop.abort();
      },
    });
    const second = await train({ output: parted, resume: true, ...own });
    for (const key of ['student', 'teacher']) {
      const [a, b] = [first, second].map(({ checkpoint }) =>
        readFileSync(path.join(checkpoint, `${key}.safetensors`)),
      );
      assert.ok(a!.equals(b!), `${key} differs`);
    }
    assert.match(readFileSync(path.join(whole, 'metrics.jsonl'), 'utf8'), /"top1"/);
    using teacher = loadModel(whole, { device: 'cpu', ...own });
    using student = loadModel(whole, { device: 'cpu', checkpointKey: 'student', ...own });
    assert.deepEqual([teacher.architecture.arch, teacher.architecture.imgSize], [arch, 32]);
    const [of, also] = [teacher, student].map(({ backbone: network }) => new Map(network.namedBuffers()));
    const [mean] = [...of!.keys()].filter((name) => name.endsWith('running_mean'));
    // own statistics: the teacher sees the two global crops alone, in one batch; the student the local ones too
    assert.notDeepEqual(of!.get(mean!)?.toArray(), also!.get(mean!)?.toArray());
    const count = mean!.replace('running_mean', 'num_batches_tracked');
    assert.deepEqual([Number(of!.get(count)?.item()), Number(also!.get(count)?.item())], [3, 6]);
    if (arch === 'custom') assert.throws(() => loadModel(whole), CheckpointError);
  });
}

it('takes a builder with arch custom alone, and leaves no run behind otherwise', async () => {
  const output = path.join(folder, 'refused');
  const backbone = (): Backbone => new Own();
  for (const options of [{ settings: settingsOf('custom') }, { settings: settingsOf('resnet18'), backbone }])
    await assert.rejects(train({ images, output, ...options }), /go together/);
  await train({ images, output, settings: settingsOf('custom'), backbone });
});
