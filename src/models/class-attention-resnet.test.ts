import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, it } from 'node:test';
import { ConfigError } from '../errors.js';
import { loadModel } from '../model.js';
import { Muon, parameterGroups } from '../optim/index.js';
import { inferenceMode, manualSeed, ones, randn, scope, zeros } from '../torch/index.js';
import { writeSafetensors } from '../weights/safetensors.js';
import { ClassAttentionResNet } from './class-attention-resnet.js';
import { buildBackbone } from './registry.js';

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
