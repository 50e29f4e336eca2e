import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { ShapeError } from '../errors.js';
import { assertMatches, readFixture } from '../testing/fixtures.js';
import { hashFill, hashValues, hashWeight } from '../testing/hash-fill.js';
import {
  autocast,
  fromTypedArray,
  inferenceMode,
  liveTensors,
  manualSeed,
  noGrad,
  ops,
  Parameter,
  rand,
  scope,
  setNumThreads,
  zeros,
  type Tensor,
} from '../torch/index.js';
import { buildBackbone } from './registry.js';
import { VisionTransformer } from './vision-transformer.js';
import { noTensorLeft } from '../testing/no-tensor-left.js';

interface VitCase {
  arch: string;
  patchSize: number;
  shape: [number, number, number, number];
  imgSize?: number;
  dropPathRate?: number;
  seed?: number;
}

// test files run side by side, and threads that wait for each other's cores cost three times the work
setNumThreads(1);

const fixture = readFixture<VitCase>('vit');
const narrow = { embedDim: 128, depth: 4, numHeads: 2 };
const weightStd = fixture.header['weightStd'] as number;
const caseOf = (name: string): VitCase => {
  const found = fixture.cases[name];
  assert.ok(found, name);
  return found;
};
const build = (options: Omit<VitCase, 'shape'>): VisionTransformer =>
  hashFill(
    buildBackbone({ ...options, ...(options.arch === 'vit' ? narrow : {}) }) as VisionTransformer,
    weightStd,
  );
const inputOf = (shape: readonly number[]): Tensor => fromTypedArray(hashValues('input', shape, 2), shape);

describe('forward, tokens and attention are the reference’s to 1e-5', () => {
  // one model for all of its sizes: filling vit_base takes longer than running it
  const groups = new Map<string, string[]>();
  for (const name of Object.keys(fixture.cases)) {
    if (!/^vit.*x\d+$/.test(name)) continue;
    const model = name.slice(0, name.lastIndexOf('/'));
    groups.set(model, [...(groups.get(model) ?? []), name]);
  }
  assert.equal(groups.size, 7);
  for (const [modelName, names] of groups) {
    describe(modelName, () => {
      const model = build(caseOf(names[0] as string)).eval();
      after(() => model.dispose());
      for (const name of names) {
        test(name, () => {
          scope(() =>
            inferenceMode(() => {
              const { shape, patchSize } = caseOf(name);
              const images = inputOf(shape);
              const tolerance = { absolute: 1e-5 };
              assertMatches(fixture, `${name}/class`, model.forward(images), tolerance);
              for (const [i, tokens] of model.getIntermediateLayers(images, 2).entries()) {
                assertMatches(fixture, `${name}/layer${i}`, tokens, tolerance);
              }
              const patches = Math.floor(shape[2] / patchSize) * Math.floor(shape[3] / patchSize);
              // the whole matrix is quadratic in the patches: 0.7 GB for the largest case
              const queries = patches > 4000 ? 'class' : 'all';
              const attention = model.getLastSelfAttention(images, { queries });
              assertMatches(fixture, `${name}/class-attention`, attention.select(2, 0), tolerance);
              if (queries === 'all') assertMatches(fixture, `${name}/attention`, attention, tolerance);
            }),
          );
        });
      }
    });
  }
});

describe('gradients are the reference’s to 1e-5 of the largest', () => {
  for (const name of Object.keys(fixture.cases).filter((key) => key.startsWith('gradients/'))) {
    test(name, () => {
      scope(() => {
        const { shape, ...options } = caseOf(name);
        const model = build(options).train();
        const images = new Parameter(inputOf(shape));
        const out = model.forward(images);
        assertMatches(fixture, `${name}/class`, out, { absolute: 1e-5 });
        out
          .mul(fromTypedArray(hashValues('grad_output', out.shape), out.shape))
          .sum()
          .backward();
        for (const [key, parameter] of [...model.namedParameters(), ['input', images] as const]) {
          assert.ok(parameter.grad, key);
          // a softmax does not see a bias on its keys: that third of the gradient is rounding noise on both sides
          assertMatches(fixture, `${name}/grad/${key}`, parameter.grad, { relative: 1e-5 });
        }
        model.dispose();
      });
    });
  }
});

test('stochastic depth draws as the reference does, and only while training', () => {
  const { shape, seed, ...options } = caseOf('drop-path');
  scope(() =>
    noGrad(() => {
      const model = build(options).train();
      manualSeed(seed as number);
      assertMatches(fixture, 'drop-path/class', model.forward(inputOf(shape)), { absolute: 1e-5 });
      const [first, second] = [0, 1].map(() => model.eval().forward(inputOf(shape)).toArray());
      assert.deepEqual(first, second);
      model.dispose();
    }),
  );
});

test('position embeddings are interpolated as in the reference', () => {
  const positions = readFixture<{ imgSize: number; patchSize: number; height: number; width: number }>(
    'position',
  );
  const models = new Map<string, VisionTransformer>();
  const modelFor = (imgSize: number, patchSize: number): VisionTransformer => {
    const key = `${imgSize}/${patchSize}`;
    const built =
      models.get(key) ?? new VisionTransformer({ imgSize, patchSize, embedDim: 4, depth: 1, numHeads: 1 });
    models.set(key, built);
    return built;
  };
  for (const [name, { imgSize, patchSize, height, width }] of Object.entries(positions.cases)) {
    const model = modelFor(imgSize, patchSize);
    (model.pos_embed.data() as Float32Array).set(hashWeight('pos_embed', model.pos_embed.shape, weightStd));
    const embedding = noGrad(() => model.interpolatePosEncoding(height, width));
    assertMatches(positions, name, embedding, { absolute: 1e-7 });
  }
  assert.equal(models.size, 6);
});

test('an image smaller than a patch, and what is no batch of images, are refused', () => {
  const model = new VisionTransformer({ ...narrow, imgSize: 32, patchSize: 8 });
  assert.throws(() => model.forward(zeros([1, 3, 7, 32])), ShapeError);
  assert.throws(
    () => model.forward(zeros([3, 32, 32])),
    /expected images \(B, 3, H, W\).*float32\[3, 32, 32\]/s,
  );
  assert.throws(() => model.getLastSelfAttention(zeros([1, 1, 32, 32])), ShapeError);
  assert.throws(() => new VisionTransformer({ ...narrow, imgSize: 4, patchSize: 8 }), ShapeError);
  assert.throws(
    () => new VisionTransformer({ ...narrow, numHeads: 3 }),
    /numHeads 3 must divide embedDim 128/,
  );
});

test('attention rows sum to 1, and the class token’s row alone is that of the matrix', () => {
  scope(() =>
    noGrad(() => {
      const model = build({ arch: 'vit', patchSize: 8, imgSize: 32 }).eval();
      const images = inputOf([2, 3, 24, 40]);
      const all = model.getLastSelfAttention(images);
      assert.deepEqual(all.shape, [2, 2, 16, 16]);
      for (const sum of all.sum([-1]).toArray()) assert.ok(Math.abs(sum - 1) < 1e-6);
      const row = model.getLastSelfAttention(images, { queries: 'class' });
      assert.deepEqual(row.shape, [2, 2, 1, 16]);
      assert.ok(
        row
          .sub(all.slice(2, 0, 1))
          .abs()
          .max()
          .item() < 1e-7,
      );
      model.dispose();
    }),
  );
});

test('tokens of the last n blocks: the deepest last, all of them when n is the depth', () => {
  scope(() =>
    noGrad(() => {
      const model = build({ arch: 'vit', patchSize: 8, imgSize: 32 }).eval();
      const images = inputOf([1, 3, 32, 32]);
      const layers = model.getIntermediateLayers(images, 4);
      assert.equal(layers.length, 4);
      assert.deepEqual((layers[3] as Tensor).toArray(), model.forwardTokens(images).toArray());
      assert.deepEqual(model.getIntermediateLayers(images).length, 1);
      model.dispose();
    }),
  );
});

test('the class token alone has the numbers and the gradients that it has among all tokens', () => {
  const model = build({ arch: 'vit', patchSize: 8, imgSize: 32, dropPathRate: 0.3 }).train();
  const parameters = [...model.namedParameters()];
  scope(() => {
    const images = inputOf([6, 3, 24, 40]);
    const weights = inputOf([6, 128]);
    const run = (forward: () => Tensor): [Tensor, (readonly [string, Tensor])[]] => {
      manualSeed(3);
      const features = forward();
      features.mul(weights).sum().backward();
      const gradients = parameters.map(([name, parameter]) => {
        const gradient = (parameter.grad as Tensor).clone();
        parameter.grad = null;
        return [name, gradient] as const;
      });
      return [features, gradients];
    };
    const [features, gradients] = run(() => model.forward(images));
    const [among, expected] = run(() => model.forwardTokens(images).select(1, 0));
    const largest = (x: Tensor): number => x.abs().max().item();
    assert.ok(largest(features.sub(among)) < 1e-5);
    for (const [i, [name, gradient]] of gradients.entries()) {
      const [, wanted] = expected[i] as readonly [string, Tensor];
      assert.ok(largest(gradient.sub(wanted)) <= 1e-5 * Math.max(1, largest(wanted)), name);
    }
  });
  model.dispose();
});

test('dropped patches: in training each global crop keeps its class token and as many patches as the rate leaves', () => {
  const sizes = { arch: 'vit', patchSize: 8, imgSize: 32, ...narrow };
  const whole = hashFill(buildBackbone(sizes), weightStd).train() as VisionTransformer;
  const model = hashFill(
    buildBackbone({ ...sizes, patchDropRate: 0.7 }),
    weightStd,
  ).train() as VisionTransformer;
  scope(() => {
    const images = inputOf([3, 3, 32, 32]);
    manualSeed(5);
    const order = rand([3, 16]).argsort(1).toArray();
    // what a network gives that is fed these patches only, with the positions that they had among all
    const tokens = whole.prepareTokens(images);
    const expected = [0, 1, 2].map((image) => {
      const kept = order.slice(16 * image, 16 * image + 4).map((patch) => 1 + patch);
      let x = ops.stack([0, ...kept].map((at) => tokens.select(0, image).select(0, at))).unsqueeze(0);
      for (const block of whole.blocks) x = block.forward(x);
      return whole.norm.forward(x).select(1, 0);
    });
    manualSeed(5);
    const features = model.forward(images);
    assert.ok(features.sub(ops.cat(expected)).abs().max().item() < 1e-5);
    assert.notDeepEqual(model.forward(images).toArray(), features.toArray(), 'other patches the next time');
    for (const [what, got] of [
      ['a local crop', model.forwardLocal(images)],
      ['an evaluation', model.eval().forward(images)],
    ] as const)
      assert.deepEqual(got.toArray(), whole.forward(images).toArray(), what);
    const registers = buildBackbone({ ...sizes, arch: 'dinov2_vit_reg', patchDropRate: 0.99 }).train();
    registers.forward(images).sum().backward(); // class token, registers and one patch
    registers.dispose();
  });
  model.dispose();
  whole.dispose();
});

test('a training step in a scope leaves nothing but gradients', () => {
  const model = build({ arch: 'vit', patchSize: 8, imgSize: 32 }).train();
  const step = (): number =>
    scope(() => {
      const loss = model
        .forward(rand([2, 3, 16, 16]))
        .pow(2)
        .mean();
      loss.backward();
      return loss.item();
    });
  step();
  const before = liveTensors();
  for (let i = 0; i < 3; i++) assert.ok(step() > 0);
  noTensorLeft(before);
  model.dispose();
});

test('under autocast the products are bfloat16 and the tokens stay float32', () => {
  scope(() =>
    noGrad(() => {
      const model = build({ arch: 'vit', patchSize: 8, imgSize: 32 }).eval();
      const images = inputOf([2, 3, 32, 32]);
      const exact = model.forward(images);
      const rough = autocast({ device: 'cpu', dtype: 'bfloat16' }, () => model.forward(images));
      assert.equal(rough.dtype, 'float32');
      const difference = rough.sub(exact).abs().max().item();
      assert.ok(difference > 0 && difference < 0.1, `off by ${difference}`);
      model.dispose();
    }),
  );
});
