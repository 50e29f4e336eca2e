import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Parameter, scope, tensor } from '../torch/index.js';
import { AdamW } from './adamw.js';
import { backboneShare, layerRates } from './layer-rates.js';

/** A student's parameters as MultiCropWrapper names them, of 4 blocks. */
const TRANSFORMER = [
  'backbone.cls_token',
  'backbone.pos_embed',
  'backbone.patch_embed.proj.weight',
  ...[0, 1, 2, 3].map((i) => `backbone.blocks.${i}.attn.qkv.weight`),
  'backbone.norm.weight',
  'head.mlp.0.weight',
];

describe('layer-wise learning rates', () => {
  it('fall from the head to the patches, as in get_vit_lr_decay_rate of dinov2', () => {
    const rates = layerRates(TRANSFORMER, { layerwiseDecay: 0.5, patchEmbedLrMult: 0.2 });
    assert.deepEqual([...rates.values()], [1 / 32, 1 / 32, 0.2 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 1]);
  });

  it('are the same for blocks in groups, and count the blocks of a ResNet', () => {
    const options = { layerwiseDecay: 0.5, patchEmbedLrMult: 0 };
    const grouped = layerRates(
      ['backbone.blocks.0.0.norm1.weight', 'backbone.blocks.1.1.norm1.weight'],
      options,
    );
    assert.deepEqual([...grouped.values()], [1 / 4, 1 / 2]);
    const resnet = layerRates(
      [
        'backbone.conv1.weight',
        'backbone.layer1.0.conv1.weight',
        'backbone.layer2.0.conv1.weight',
        'head.mlp.0.bias',
      ],
      options,
    );
    assert.deepEqual([...resnet.values()], [0, 1 / 4, 1 / 2, 1]);
  });

  it('are 1 for all without decay', () => {
    const rates = layerRates(TRANSFORMER, { layerwiseDecay: 1, patchEmbedLrMult: 1 });
    assert.ok([...rates.values()].every((rate) => rate === 1));
  });

  it('reach the optimizer: a rate of a half is half of the learning rate', () =>
    scope(() => {
      const make = () => new Parameter(tensor([1, -2, 3]));
      const [slow, same] = [make(), make()];
      const groups = (name: string, parameter: Parameter) => [
        { parameters: [[name, parameter] as const], regularized: true },
      ];
      const one = new AdamW(groups('a', slow));
      const two = new AdamW(groups('b', same));
      for (let i = 0; i < 3; i++) {
        slow.grad = tensor([0.1, 0.2, -0.3]);
        same.grad = tensor([0.1, 0.2, -0.3]);
        one.step({ lr: 0.1, weightDecay: 0.04, rateOf: () => 0.5 });
        two.step({ lr: 0.05, weightDecay: 0.04 });
      }
      assert.deepEqual(slow.toArray(), same.toArray());
      assert.notDeepEqual(slow.toArray(), [1, -2, 3]);
    }));

  it('leave the backbone alone at first, then let it in slowly', () => {
    assert.deepEqual(
      [0, 0.9, 1, 2, 3, 5].map((epoch) => backboneShare(epoch, 1, 2)),
      [0, 0, 0, 0.5, 1, 1],
    );
    assert.equal(backboneShare(0, 0, 0), 1);
  });
});
