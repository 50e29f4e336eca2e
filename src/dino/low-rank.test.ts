/** Low-rank updates against the same networks with W = base + B A written out, and against gradients of that. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConfigError } from '../errors.js';
import { buildBackbone, DINOHead } from '../models/index.js';
import { hashFill } from '../testing/hash-fill.js';
import { hashCrops } from '../testing/training-state.js';
import { inferenceMode, manualSeed, noGrad, ops, scope, type Tensor } from '../torch/index.js';
import { LowRankUpdates } from './low-rank.js';
import { MultiCropWrapper } from './multi-crop.js';

const NETWORKS = {
  vit: { arch: 'vit', embedDim: 32, depth: 3, numHeads: 2, patchSize: 8, imgSize: 32 },
  dinov2: { arch: 'dinov2_vit_reg', embedDim: 32, depth: 3, numHeads: 2, patchSize: 8, imgSize: 32 },
  dinov3: { arch: 'dinov3_vit', embedDim: 32, depth: 3, numHeads: 2, patchSize: 8 },
} as const;
const student = (options: { arch: string }): MultiCropWrapper => {
  manualSeed(1);
  const head = new DINOHead({ inDim: 32, outDim: 16, hiddenDim: 16, bottleneckDim: 8 });
  return hashFill(new MultiCropWrapper(buildBackbone(options), head), 0.1).train();
};
const SIZES = { batch: 2, globalCropsSize: 32, localCropsSize: 16, localCropsNumber: 2 };
const valuesOf = (tensor: Tensor): Float32Array =>
  tensor.detach().clone().contiguous().toTypedArray() as Float32Array;
const most = (tensor: Tensor): number => valuesOf(tensor.detach().abs().max())[0]!;

for (const [name, options] of Object.entries(NETWORKS))
  test(`${name}: the given weights at first; then gradients are those of the product, and nothing else moves`, () => {
    scope(() => {
      const network = student(options);
      const before = new Map([...network.stateDict()].map(([key, tensor]) => [key, valuesOf(tensor)]));
      const updates = new LowRankUpdates(network, { rank: 4 });
      updates.merge();
      for (const [key, tensor] of network.stateDict())
        assert.deepEqual(valuesOf(tensor), before.get(key), key);

      // a B that is not zero, so that A has a gradient
      const parameters = new Map(updates.parametersOf(network));
      noGrad(() => {
        for (const [key, parameter] of parameters) if (key.endsWith('lora_B')) parameter.normal_(0, 0.05);
      });
      updates.merge();
      const loss = (): Tensor => network.forward(hashCrops(0, SIZES)).pow(2).mean();
      loss().backward();
      const weights = new Map(network.namedParameters());
      const gradients = new Map(
        [...weights].flatMap(([key, { grad }]) => (grad === null ? [] : [[key, grad.clone()] as const])),
      );
      updates.pullBack();
      let checked = 0;
      for (const [key, parameter] of parameters) {
        if (!key.includes('.lora_')) continue;
        const of = key.replace(/\.lora_.$/, '');
        const dW = gradients.get(`${of}.weight`)!;
        const [a, b] = [parameters.get(`${of}.lora_A`)!, parameters.get(`${of}.lora_B`)!];
        const expected = noGrad(() => (key.endsWith('A') ? b.t().matmul(dW) : dW.matmul(a.t())));
        assert.ok(most(parameter.grad!.sub(expected)) <= 1e-6 * (1 + most(expected)), key);
        assert.ok(most(parameter.grad!) > 0, `${key} has a gradient`);
        // a step against one number of the gradient changes the loss as it says
        if (checked++ > 1) continue;
        const step = 0.02;
        const direction = noGrad(() => parameter.grad!.div(parameter.grad!.norm()));
        const lossAt = (distance: number): number =>
          noGrad(() => {
            parameter.add_(direction.mul(distance));
            updates.merge();
            const value = loss().item();
            parameter.sub_(direction.mul(distance));
            updates.merge();
            return value;
          });
        const slope = (lossAt(step) - lossAt(-step)) / (2 * step);
        const told = noGrad(() => parameter.grad!.norm().item());
        assert.ok(Math.abs(slope - told) < 0.05 * told, `${key}: ${slope} against ${told}`);
      }
      assert.equal([...parameters.keys()].filter((key) => key.includes('.lora_')).length, 3 * 2 * 2);
      const trained = [...parameters.keys()].filter((key) => !key.includes('.lora_'));
      assert.ok(trained.length > 0 && trained.every((key) => key.startsWith('head.')));
    });
  });

test('features of merged weights are those of base and product apart', () => {
  scope(() => {
    const network = student(NETWORKS.vit);
    const updates = new LowRankUpdates(network, { rank: 3, layers: 1 });
    const parameters = new Map(updates.parametersOf(network));
    noGrad(() => {
      for (const [key, parameter] of parameters) if (key.endsWith('lora_B')) parameter.normal_(0, 0.2);
    });
    const { backbone } = network.eval();
    const [images] = hashCrops(1, SIZES);
    inferenceMode(() => {
      const given = backbone.forward(images).clone();
      updates.merge();
      const merged = backbone.forward(images);
      assert.ok(most(merged.sub(given)) > 1e-3);
      // x W^T + (x A^T) B^T, for one of the layers
      const of = 'backbone.blocks.2.attn.qkv';
      const base = updates.stateDict().get(`lora.${of}.weight.base`)!;
      const [a, b] = [parameters.get(`${of}.lora_A`)!, parameters.get(`${of}.lora_B`)!];
      const x = ops.cat([images.flatten(1).slice(1, 0, 32), images.flatten(1).slice(1, 32, 64)]); // (2 B, 32)
      const apart = x.matmul(base.t()).add(x.matmul(a.t()).matmul(b.t()));
      const weight = network.stateDict().get(`${of}.weight`)!;
      assert.ok(most(x.matmul(weight.t()).sub(apart)) < 1e-4);
    });
    const names = [...parameters.keys()].filter((key) => key.includes('.lora_'));
    assert.ok(names.length === 4 && names.every((key) => key.startsWith('backbone.blocks.2.attn.')));
  });
});

test('a rank or number of layers that is not possible, and a backbone without attention, are refused', () => {
  scope(() => {
    const refused = (
      options: { arch: string },
      lora: { rank: number; layers?: number },
      message: RegExp,
    ): void =>
      assert.throws(
        () => new LowRankUpdates(student(options), lora),
        (error) => error instanceof ConfigError && message.test(error.message),
      );
    refused(NETWORKS.vit, { rank: 33 }, /--lora-rank is 33, but the weights that it changes have rank 32/);
    refused(NETWORKS.vit, { rank: 4, layers: 4 }, /--lora-layers is 4, but there are 3 blocks/);
    refused(
      { arch: 'resnet', embedDim: 32, depth: 4 } as { arch: string },
      { rank: 4 },
      /this backbone has none/,
    );
  });
});
