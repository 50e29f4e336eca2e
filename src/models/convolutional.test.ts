/** ResNet and XCiT against torchvision and facebookresearch/xcit (tools/fixtures/make_model_fixtures.py). */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { ShapeError } from '../errors.js';
import { assertMatches, readFixture } from '../testing/fixtures.js';
import { hashFill, hashValues } from '../testing/hash-fill.js';
import {
  fromTypedArray,
  inferenceMode,
  manualSeed,
  noGrad,
  Parameter,
  rand,
  scope,
  setNumThreads,
  zeros,
  type DType,
  type Tensor,
} from '../torch/index.js';
import { ActivationCheckpoints } from '../nn/index.js';
import { buildBackbone } from './registry.js';
import { XCiT } from './xcit.js';

interface ModelCase {
  arch: string;
  shape: [number, number, number, number];
  seed: number;
  /** Names and shapes of the original's state, in its order. */
  state: [name: string, shape: number[]][];
  /** First values of what is drawn. */
  first: Record<string, number>;
}

setNumThreads(1);
/** One block in each stage, and torchvision's width. */
const SMALL = { embedDim: 512, depth: 4 };
const inputOf = (shape: readonly number[]): Tensor => fromTypedArray(hashValues('input', shape, 2), shape);

for (const family of ['resnet', 'resnet_small', 'xcit']) {
  const fixture = readFixture<ModelCase>(family);
  const weightStd = fixture.header['weightStd'] as number;
  const outputDtype = (fixture.header['outputDtype'] ?? 'float32') as DType;
  const gradientDtype = fixture.header['gradientDtype'] as DType;
  const names = Object.keys(fixture.cases);
  const archs = names.filter((name) => !name.includes('/'));
  assert.equal(archs.length, family === 'resnet_small' ? 1 : 4);
  for (const arch of archs) {
    describe(arch, () => {
      const { seed, state, first } = fixture.cases[arch] as ModelCase;
      manualSeed(seed);
      const model = buildBackbone({ arch, ...(arch === 'resnet' ? SMALL : {}) });
      after(() => model.dispose());

      test('first weights and state are the original’s', () => {
        const own = [...model.stateDict()].map(([name, { shape }]) => [name, [...shape]] as const);
        // the order is of no consequence in a file: an own parameter precedes its module's children here too
        assert.deepEqual(new Map(own), new Map(state));
        for (const [name, value] of Object.entries(first)) {
          const tensor = model.stateDict().get(name);
          if (tensor === undefined) continue; // of the classifier
          const found = Number(tensor.flatten().select(0, 0).item());
          assert.ok(Math.abs(found - value) <= 1e-7, `${name}: ${found}, expected ${value}`);
        }
        assert.ok(Object.keys(first).length >= (family === 'resnet_small' ? 12 : 21));
      });

      test('outputs are the original’s to 1e-5, at square and other sizes', () => {
        hashFill(model, weightStd).eval();
        const sizes = names.filter((name) => name.startsWith(`${arch}/`) && /x\d+$/.test(name));
        assert.equal(sizes.length, 2);
        for (const name of sizes) {
          scope(() =>
            inferenceMode(() => {
              const images = inputOf((fixture.cases[name] as ModelCase).shape);
              const exact = model.to(outputDtype).forward(images.to(outputDtype));
              assertMatches(fixture, `${name}/out`, exact, { absolute: 1e-5 });
              if (outputDtype !== 'float32') {
                // its own roundings are more than that where features reach to 62
                const single = model.to('float32').forward(images);
                assertMatches(fixture, `${name}/out`, single, { absolute: 1e-5, relative: 1e-6 });
              }
              if (!(model instanceof XCiT)) return;
              const attention = model.getLastClassAttention(images);
              assertMatches(fixture, `${name}/attention`, attention, { absolute: 1e-5 });
            }),
          );
        }
      });

      test('gradients and running statistics of a training step are the original’s to 1e-5', () => {
        const name = `${arch}/gradients`;
        hashFill(model, weightStd).to(gradientDtype).train();
        scope(() => {
          const images = new Parameter(inputOf((fixture.cases[name] as ModelCase).shape).to(gradientDtype));
          const out = model.forward(images);
          assertMatches(fixture, `${name}/out`, out, { absolute: 1e-5 });
          out
            .mul(fromTypedArray(hashValues('grad_output', out.shape), out.shape))
            .sum()
            .backward();
          assertMatches(fixture, `${name}/input`, images.grad as Tensor, { relative: 1e-5 });
          let compared = 0;
          for (const [key, parameter] of model.namedParameters()) {
            assert.ok(parameter.grad, key);
            if (!fixture.tensors.has(`${name}/grad/${key}`)) continue; // like blocks stand for each other
            compared++;
            const tolerance = { relative: 1e-5, absolute: 1e-6 };
            assertMatches(fixture, `${name}/grad/${key}`, parameter.grad, tolerance);
          }
          assert.ok(compared >= (family === 'resnet_small' ? 36 : 60));
          for (const [key, buffer] of model.namedBuffers()) {
            if (key.endsWith('tracked')) assert.equal(Number(buffer.item()), 1);
            else if (fixture.tensors.has(`${name}/buffer/${key}`))
              assertMatches(fixture, `${name}/buffer/${key}`, buffer, { absolute: 1e-5, relative: 1e-5 });
          }
        });
      });
    });
  }
}

test('checkpointed blocks give the same gradients, and each batch counts once in the norms', () => {
  const results = [false, true].map((isCheckpointed) =>
    scope(() => {
      manualSeed(4);
      const model = buildBackbone({ arch: 'resnet18' }).to('float64').train();
      const images = rand([2, 3, 64, 64]).to('float64');
      const lossOf = (): Tensor => model.forward(images).pow(2).sum();
      if (isCheckpointed) {
        const checkpoints = new ActivationCheckpoints();
        checkpoints.backward(checkpoints.forward(lossOf));
      } else lossOf().backward();
      const gradients = [...model.parameters()].map(({ grad }) => (grad as Tensor).toArray());
      const buffers = [...model.namedBuffers()].map(([, buffer]) => Array.from(buffer.toArray(), Number));
      model.dispose();
      return { gradients, buffers };
    }),
  );
  assert.deepEqual(results[1]?.buffers, results[0]?.buffers);
  results[0]?.gradients.forEach((expected, i) => {
    const found = results[1]?.gradients[i] as number[];
    const most = expected.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0);
    assert.ok(expected.every((value, j) => Math.abs(value - (found[j] as number)) <= 1e-9 * most));
  });
});

test('stochastic depth is at work while training alone; attention sums to 1', () => {
  scope(() =>
    noGrad(() => {
      const options = { patchSize: 8, embedDim: 32, depth: 2, numHeads: 2 } as const;
      manualSeed(1);
      const model = new XCiT({ ...options, dropPathRate: 0.5 }).train();
      const images = rand([4, 3, 32, 24]);
      const once = model.forward(images);
      assert.ok(model.forward(images).sub(once).abs().max().item() > 1e-3);
      model.eval();
      assert.deepEqual(model.forward(images).toArray(), model.forward(images).toArray());
      const attention = model.getLastClassAttention(images);
      assert.deepEqual(attention.shape, [4, 2, 1, 13]);
      for (const sum of attention.sum([-1]).toArray()) assert.ok(Math.abs(sum - 1) < 1e-6);
      model.dispose();
    }),
  );
});

test('what is no batch of images, and sizes that do not fit together, are refused', () => {
  for (const arch of ['resnet18', 'xcit_small_12_p16']) {
    const model = buildBackbone({ arch });
    assert.throws(() => model.forward(zeros([3, 32, 32])), /expected images \(B, 3, H, W\)/);
    assert.throws(() => model.forward(zeros([1, 4, 32, 32])), ShapeError);
    model.dispose();
  }
  const sizes = { patchSize: 8, embedDim: 32, depth: 1, numHeads: 3 } as const;
  assert.throws(() => new XCiT(sizes), /numHeads 3/);
  assert.throws(() => new XCiT({ ...sizes, numHeads: 2, patchSize: 4 as 8 }), /8 or 16/);
});
