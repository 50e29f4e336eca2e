import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ConfigError } from '../errors.js';
import { lookAt } from '../explain/look.js';
import { patchPca } from '../explain/patch-pca.js';
import { loadModel, Model } from '../model.js';
import { Muon, parameterGroups } from '../optim/index.js';
import {
  inferenceMode,
  manualSeed,
  ones,
  ops,
  rand,
  randn,
  scope,
  type Tensor,
  zeros,
} from '../torch/index.js';
import { writeSafetensors } from '../weights/safetensors.js';
import { hasTokens, patchTokens } from './backbone.js';
import { ClassAttentionResNet } from './class-attention-resnet.js';
import { buildBackbone } from './registry.js';
import type { ClassAttentionBlock } from './xcit.js';

const build = (): ClassAttentionResNet => {
  manualSeed(3);
  const backbone = buildBackbone({ arch: 'resnet_class_attention', embedDim: 32, depth: 3 });
  assert.ok(backbone instanceof ClassAttentionResNet);
  return backbone;
};

describe('a ResNet with class attention', () => {
  it('gives one feature an image, of any size, and a weight for each position', () =>
    scope(() =>
      inferenceMode(() => {
        const backbone = build();
        backbone.eval();
        const images = randn([2, 3, 40, 33]);
        assert.deepEqual(backbone.forward(images).shape, [2, 32]);
        const attention = backbone.getLastClassAttention(images);
        assert.deepEqual(attention.shape, [2, 8, 1, 1 + 5 * 5]); // 33 pixels are 5 positions: rounded up
        for (const sum of attention.sum([-1]).flatten().toArray())
          assert.ok(Math.abs(Number(sum) - 1) < 1e-5);
      }),
    ));

  it('hides positions of global crops from the class token in training, others for each image', () =>
    scope(() => {
      const sizes = { arch: 'resnet_class_attention', embedDim: 32, depth: 3 };
      const whole = build().train();
      const model = buildBackbone({ ...sizes, patchDropRate: 0.75 }).train() as ClassAttentionResNet;
      model.loadStateDict(whole.stateDict());
      const images = randn([3, 3, 32, 32]); // 16 positions
      manualSeed(5);
      const order = rand([3, 16]).argsort(1).toArray();
      const positions = whole.forwardTokens(images).slice(1, 1);
      // what the class token gives that asks these positions only
      const expected = [0, 1, 2].map((image) => {
        const kept = order.slice(16 * image, 16 * image + 4);
        const seen = kept.map((at) => positions.select(0, image).select(0, at));
        let x = ops.stack([whole.cls_token.flatten(), ...seen]).unsqueeze(0);
        for (const block of whole.cls_attn_blocks) x = block.forward(x);
        return whole.norm.forward(x.slice(1, 0, 1)).select(1, 0);
      });
      manualSeed(5);
      const features = model.forward(images);
      assert.ok(features.sub(ops.cat(expected)).abs().max().item() < 1e-5);
      assert.notDeepEqual(
        model.forward(images).toArray(),
        features.toArray(),
        'other positions the next time',
      );
      const all = whole.forward(images).toArray();
      assert.deepEqual(model.forwardLocal(images).toArray(), all, 'a local crop');
      model.loadStateDict(whole.stateDict()); // averages of batch norm
      assert.deepEqual(
        model.eval().forward(images).toArray(),
        whole.eval().forward(images).toArray(),
        'an evaluation',
      );
    }));

  it('gives as patch features the positions that its class token asks, row by row', () =>
    scope(() =>
      inferenceMode(() => {
        const backbone = build();
        backbone.eval();
        assert.ok(hasTokens(backbone));
        const images = randn([2, 3, 40, 33]);
        let x = backbone.bn1.forward(backbone.conv1.forward(images)).relu();
        for (const stage of [backbone.layer1, backbone.layer2, backbone.layer3]) x = stage.forward(x); // (2, 32, 5, 5)
        const patches = patchTokens(backbone, backbone.forwardTokens(images));
        assert.deepEqual(patches.shape, [2, 5 * 5, 32]);
        for (const [row, column] of [
          [0, 0],
          [1, 3],
          [4, 4],
        ] as const) {
          const found = patches.select(1, row * 5 + column); // (2, 32)
          const wanted = x.select(2, row).select(2, column); // (2, 32)
          assert.ok(Number(found.sub(wanted).abs().max().item()) < 1e-5, `${row}, ${column}`);
        }

        // its attention and its feature are what the class token gets out of exactly these
        const block = backbone.cls_attn_blocks.at(0) as ClassAttentionBlock;
        const asked = ops.cat([backbone.cls_token.expand([2, -1, -1]), patches], 1); // (2, 1 + 25, 32)
        const difference = (a: Tensor, b: Tensor): number => Number(a.sub(b).abs().max().item());
        assert.ok(difference(block.attention(asked), backbone.getLastClassAttention(images)) < 1e-6);
        const feature = backbone.norm.forward(block.forward(asked)).select(1, 0); // (2, 32)
        assert.ok(difference(feature, backbone.forward(images)) < 1e-5);
        assert.ok(difference(backbone.forwardTokens(images).select(1, 0), feature) < 1e-5);
        const layers = backbone.getIntermediateLayers(images);
        assert.equal(layers.length, 1);
        assert.ok(difference(patchTokens(backbone, layers[0]!), patches) < 1e-6);
      }),
    ));

  it('has them embedded, seen in Look and drawn as components', async () => {
    const arch = 'resnet_class_attention' as const;
    const architecture = { arch, embedDim: 32, depth: 3, numHeads: 8, patchSize: 8, imgSize: 32 };
    using model = new Model(build().eval(), architecture, 'memory', 'cpu');
    const pictures = ['two', 'tall'].map((name) =>
      fileURLToPath(
        new URL(`../../test/fixtures/video/davis/JPEGImages/480p/${name}/00000.jpg`, import.meta.url),
      ),
    );
    const sizes = { resize: 36, crop: 30, numWorkers: 0 }; // 30 pixels are 4 positions: rounded up
    const patches = await model.embed(pictures, { ...sizes, features: 'patches' });
    assert.deepEqual(patches.shape, [2, 4 * 4, 32]);
    const mean = await model.embed(pictures, { ...sizes, features: 'patch-mean' });
    assert.deepEqual(mean.shape, [2, 32]);
    for (const channel of [0, 13, 31]) {
      const of = Array.from({ length: 16 }, (_, i) => patches.features[i * 32 + channel]!);
      const average = of.reduce((sum, value) => sum + value, 0) / 16;
      assert.ok(Math.abs(mean.features[channel]! - average) < 1e-5);
    }
    await assert.rejects(
      model.embed(pictures, { ...sizes, layers: 2 }),
      /layers 2; expected 1: of resnet_class_attention only the last stage gives features/,
    );

    const { images } = await lookAt(model, pictures, { imageSize: [40, 64] });
    for (const { rows, columns, features, colours, allColours } of images) {
      assert.deepEqual([rows, columns], [5, 8]);
      assert.equal(features!.length, 40 * 32);
      assert.equal(colours!.length, 40 * 3);
      assert.ok(new Set(allColours).size > 10); // not one colour
    }
    const drawn = await patchPca(model, pictures, { imageSize: [40, 64], foreground: false });
    assert.deepEqual(drawn.images[1]!.colours, images[1]!.allColours);
  });

  it('counts positions row by row: a mark in the upper right corner changes the weights there', () =>
    scope(() =>
      inferenceMode(() => {
        const backbone = build();
        backbone.eval();
        const plain = zeros([1, 3, 64, 128]); // 8 rows of 16 positions
        const marked = zeros([1, 3, 64, 128]);
        marked.slice(2, 0, 8).slice(3, 120, 128).add_(3);
        const change = backbone
          .getLastClassAttention(marked)
          .div(backbone.getLastClassAttention(plain))
          .sub(1)
          .abs()
          .select(2, 0)
          .slice(2, 1) // without the class token's own
          .mean([0, 1])
          .toArray()
          .map(Number);
        const at = change.indexOf(Math.max(...change));
        const [row, column] = [Math.floor(at / 16), at % 16];
        assert.ok(row <= 2 && column >= 14, `row ${row}, column ${column}`); // those that see it
      }),
    ));

  it('has positions that see 19 pixels and no more', () =>
    scope(() => {
      const backbone = build();
      backbone.eval();
      const images = randn([1, 3, 64, 64]);
      images.requiresGrad = true;
      // attention is made before positions mix: the weight of the position in the middle, before the softmax divides
      const weights = backbone.getLastClassAttention(images).log(); // (1, heads, 1, 1 + 64)
      weights
        .select(3, 1 + 4 * 8 + 4)
        .sub(weights.select(3, 0))
        .sum()
        .backward();
      const seen = images.grad!.abs().sum([0, 1]); // (64, 64)
      const sums = [...seen.sum([1]).toArray()].map(Number);
      const most = Math.max(...sums); // what is left elsewhere is rounding
      const rows = sums.flatMap((sum, row) => (sum > 1e-4 * most ? [row] : []));
      assert.equal(rows.length, 19);
      assert.ok(rows[0]! <= 32 && rows.at(-1)! >= 32);
    }));

  it('is found in a file by its tensors, with the same features', () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'dino-class-attention-'));
    try {
      scope(() => {
        const backbone = build();
        const file = path.join(folder, 'weights.safetensors');
        writeSafetensors(file, backbone.stateDict(), {});
        using model = loadModel(file);
        const { arch, embedDim, depth, numHeads, patchSize } = model.architecture;
        assert.deepEqual(
          [arch, embedDim, depth, numHeads, patchSize],
          ['resnet_class_attention', 32, 3, 8, 8],
        );
        backbone.eval();
        const images = ones([1, 3, 32, 32]);
        inferenceMode(() =>
          assert.deepEqual(model.backbone.forward(images).toArray(), backbone.forward(images).toArray()),
        );
      });
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it('has its attention trained by AdamW at a fiftieth of the rate when the rest is trained by Muon', () => {
    const backbone = build();
    const parameters = [...backbone.namedParameters()];
    const optimizer = new Muon(parameterGroups(parameters));
    scope(() => {
      const loss = backbone
        .forward(randn([4, 3, 32, 32]))
        .pow(2)
        .mul(randn([4, 32]))
        .sum();
      loss.backward();
      const before = new Map(parameters.map(([name, parameter]) => [name, parameter.detach().clone()]));
      optimizer.step({ lr: 0.01, weightDecay: 0 });
      const moved = (name: string): number =>
        Number(new Map(parameters).get(name)!.detach().sub(before.get(name)!).abs().max().item());
      // the first step of AdamW is as long as its learning rate
      assert.ok(Math.abs(moved('cls_attn_blocks.0.attn.qkv.weight') - 0.0002) < 2e-6);
      assert.ok(Math.abs(moved('norm.weight') - 0.01) < 1e-4);
    });
    const state = optimizer.stateDict();
    assert.ok(state.has('momentum_buffer.layer1.0.conv1.weight'));
    assert.ok(!state.has('momentum_buffer.cls_attn_blocks.0.attn.qkv.weight'));
  });

  it('refuses sizes that its stages can not share', () => {
    for (const [embedDim, depth] of [
      [36, 3],
      [32, 4],
    ] as const)
      assert.throws(() => buildBackbone({ arch: 'resnet_class_attention', embedDim, depth }), ConfigError);
  });
});
