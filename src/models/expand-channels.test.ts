/** Networks for images of other channels than RGB, and what becomes of weights that were trained on RGB. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ShapeError } from '../errors.js';
import { hashFill } from '../testing/hash-fill.js';
import { fromTypedArray, inferenceMode, ops, scope, type Tensor } from '../torch/index.js';
import { expandChannels, takesChannels } from './expand-channels.js';
import { type BackboneOptions, backboneShapes, buildBackbone } from './registry.js';

const NETWORKS: BackboneOptions[] = [
  { arch: 'vit', embedDim: 32, depth: 2, numHeads: 2, patchSize: 8, imgSize: 32 },
  { arch: 'dinov2_vit_reg', embedDim: 32, depth: 2, numHeads: 2, patchSize: 8, imgSize: 32 },
  { arch: 'dinov3_vit', embedDim: 32, depth: 2, numHeads: 2, patchSize: 8 },
  { arch: 'dinov3_convnext', embedDim: 64, depth: 6 },
  { arch: 'resnet', embedDim: 64, depth: 4 },
  { arch: 'resnet18' },
  { arch: 'resnet_class_attention', embedDim: 64, depth: 3 },
  { arch: 'xcit_small_12_p16' },
];

const valuesOf = (tensor: Tensor): Float32Array =>
  tensor.to('float32').contiguous().toTypedArray() as Float32Array;
const closeness = (a: Tensor, b: Tensor): number => valuesOf(a.sub(b).abs().max())[0]!;

for (const options of NETWORKS)
  test(`${options.arch} takes images of one, four and sixteen channels`, () => {
    scope(() =>
      inferenceMode(() => {
        for (const channels of options.arch.startsWith('xcit') ? [4] : [1, 4, 16]) {
          const backbone = buildBackbone({ ...options, channels }).eval();
          assert.deepEqual([backbone.channels, backbone.normalization.mean.length], [channels, channels]);
          const images = fromTypedArray(new Float32Array(2 * channels * 32 * 32).fill(0.5), [
            2,
            channels,
            32,
            32,
          ]);
          assert.deepEqual(backbone.forward(images).shape, [2, backbone.embedDim]);
          const wrong = new RegExp(`expected images \\(B, ${channels}, H, W\\)`);
          assert.throws(
            () => backbone.forward(images.narrow(1, 0, 1).expand([2, channels + 1, 32, 32])),
            (error) => error instanceof ShapeError && wrong.test(error.message),
          );
        }
        const shapes = [...backboneShapes({ ...options, channels: 4 })];
        const changed = shapes.filter(
          ([name, shape]) => backboneShapes(options).get(name)!.join() !== shape.join(),
        );
        assert.equal(changed.length, 1, 'only the first layer differs');
        assert.ok(takesChannels(changed[0]![0]));
      }),
    );
  });

test('weights of red, green and blue are repeated in turn, and keep their magnitude', () => {
  scope(() => {
    const weight = fromTypedArray(
      Float32Array.from({ length: 2 * 3 * 2 * 2 }, (_, i) => i + 1),
      [2, 3, 2, 2],
    );
    const four = expandChannels(weight, 4);
    assert.deepEqual(four.shape, [2, 4, 2, 2]);
    for (const [i, from] of [0, 1, 2, 0].entries())
      assert.equal(closeness(four.select(1, i), weight.select(1, from).mul(0.75)), 0);
    assert.equal(closeness(expandChannels(weight, 1), weight.sum([1], true)), 0);
    assert.equal(closeness(expandChannels(weight, 3), weight), 0);
    assert.deepEqual(expandChannels(weight, 2).shape, [2, 2, 2, 2]);
  });
});

test('of gray images a network gives the same features with one channel and with six as with three', () => {
  const options = NETWORKS[0]!;
  scope(() =>
    inferenceMode(() => {
      const rgb = hashFill(buildBackbone(options), 0.1).eval();
      const pixels = Float32Array.from({ length: 2 * 32 * 32 }, (_, i) => Math.sin(i));
      const gray = fromTypedArray(pixels, [2, 1, 32, 32]);
      const expected = rgb.forward(gray.expand([2, 3, 32, 32]).contiguous());
      for (const channels of [1, 6]) {
        const backbone = buildBackbone({ ...options, channels });
        const state = new Map(
          [...rgb.stateDict()].map(([name, tensor]) => [
            name,
            takesChannels(name) ? expandChannels(tensor, channels) : tensor,
          ]),
        );
        backbone.loadStateDict(state);
        const found = backbone.eval().forward(
          ops.cat(
            Array.from({ length: channels }, () => gray),
            1,
          ),
        );
        assert.ok(closeness(found, expected) < 1e-5, `${closeness(found, expected)}`);
      }
    }),
  );
});
