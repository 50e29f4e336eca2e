/** DINOv2 against facebookresearch/dinov2 (tools/fixtures/make_dinov2_fixtures.py). */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { ShapeError } from '../errors.js';
import { ActivationCheckpoints } from '../nn/index.js';
import { assertMatches, readFixture } from '../testing/fixtures.js';
import { hashFill, hashValues } from '../testing/hash-fill.js';
import {
  autocast,
  fromTypedArray,
  inferenceMode,
  liveTensors,
  noGrad,
  ops,
  Parameter,
  scope,
  setNumThreads,
  type Tensor,
  zeros,
} from '../torch/index.js';
import { ARCHITECTURES, type ArchitectureName } from './architectures.js';
import { patchTokens } from './backbone.js';
import type { Dinov2 } from './dinov2.js';
import type { Block } from './vision-transformer.js';
import { backboneShapes, buildBackbone } from './registry.js';
import { noTensorLeft } from '../testing/no-tensor-left.js';

interface Dinov2Case {
  arch: string;
  shape: [number, number, number, number];
  /** Names and shapes of the original's state. */
  state: [name: string, shape: number[]][];
}

setNumThreads(1);

const fixture = readFixture<Dinov2Case>('dinov2');
const weightStd = fixture.header['weightStd'] as number;
const KINDS = ['dinov2_vit', 'dinov2_vit_reg', 'dinov2_vit_swiglu', 'dinov2_vit_swiglu_reg'];
const FULL = ['dinov2_vits14', 'dinov2_vits14_reg'];
const SMALL = { embedDim: 64, depth: 3, numHeads: 2, patchSize: 14, imgSize: 70 };
const optionsOf = (arch: string) => (KINDS.includes(arch) ? { arch, ...SMALL } : { arch, imgSize: 518 });
const build = (arch: string): Dinov2 => hashFill(buildBackbone(optionsOf(arch)) as Dinov2, weightStd);
const inputOf = (shape: readonly number[]): Tensor => fromTypedArray(hashValues('input', shape, 2), shape);
const largest = (x: Tensor): number => Number(x.abs().max().item());

test('names and shapes are those of every released state', () => {
  const named = Object.entries(fixture.cases).filter(([name]) => Object.hasOwn(ARCHITECTURES, name));
  assert.equal(named.length, 10);
  for (const [arch, { state }] of named)
    assert.deepEqual(
      new Map([...backboneShapes(optionsOf(arch))].map(([name, shape]) => [name, [...shape]])),
      new Map(state),
      arch,
    );
  for (const arch of ['dinov2_vitb14', 'dinov2_vitl14', 'dinov2_vitg14'] as ArchitectureName[])
    assert.ok(Object.hasOwn(ARCHITECTURES, `${arch}_reg`));
});

for (const arch of [...KINDS, ...FULL]) {
  describe(`${arch}: class token, registers, patches and attention are the original's to 1e-5`, () => {
    const model = build(arch).eval();
    after(() => model.dispose());
    const sizes = Object.keys(fixture.cases).filter((name) => new RegExp(`^${arch}/\\d+x\\d+$`).test(name));
    assert.equal(sizes.length, 4);
    for (const name of sizes)
      test(name, () => {
        scope(() =>
          inferenceMode(() => {
            const images = inputOf((fixture.cases[name] as Dinov2Case).shape);
            const tolerance = { absolute: 1e-5 };
            assertMatches(fixture, `${name}/class`, model.forward(images), tolerance);
            const tokens = model.forwardTokens(images); // (B, 1 + R + N, D)
            assertMatches(fixture, `${name}/class`, tokens.select(1, 0), tolerance);
            assertMatches(fixture, `${name}/patches`, patchTokens(model, tokens), tolerance);
            const registers = tokens.slice(1, 1, model.prefixTokens);
            assert.equal(registers.size(1), arch.endsWith('_reg') ? 4 : 0);
            if (registers.numel > 0) assertMatches(fixture, `${name}/registers`, registers, tolerance);
            const [first] = model.getIntermediateLayers(images, 2) as [Tensor];
            const withoutRegisters = ops.cat([first.slice(1, 0, 1), patchTokens(model, first)], 1);
            assertMatches(fixture, `${name}/layer0`, withoutRegisters, tolerance);
            const attention = model.getLastSelfAttention(images, { queries: 'class' });
            assertMatches(fixture, `${name}/class-attention`, attention, tolerance);
            const shown = model.getLastClassAttention(images); // (B, heads, 1, 1 + N)
            assert.equal(shown.size(3), tokens.size(1) - registers.size(1));
            const kept = attention.slice(3, model.prefixTokens);
            assert.ok(largest(shown.slice(3, 1).sub(kept)) === 0);
          }),
        );
      });
  });
}

describe("gradients are the original's to 1e-5 of the largest", () => {
  for (const arch of KINDS)
    test(arch, () => {
      const name = `${arch}/gradients`;
      const model = build(arch).train();
      const images = new Parameter(inputOf((fixture.cases[name] as Dinov2Case).shape));
      const lossOf = (out: Tensor): Tensor => {
        assertMatches(fixture, `${name}/class`, out, { absolute: 1e-5 });
        return out.mul(fromTypedArray(hashValues('grad_output', out.shape), out.shape)).sum();
      };
      const check = (): void => {
        const all = [...model.namedParameters(), ['input', images] as const];
        for (const [key, parameter] of all) {
          assert.ok(parameter.grad, key);
          assertMatches(fixture, `${name}/grad/${key}`, parameter.grad, { relative: 1e-5 });
          parameter.grad = null;
        }
        assert.equal(
          all.length,
          [...fixture.tensors.keys()].filter((key) => key.startsWith(`${name}/grad/`)).length,
        );
      };
      scope(() => {
        lossOf(model.forward(images)).backward();
        check();
        lossOf(model.forwardTokens(images).select(1, 0)).backward();
        check();
        const checkpoints = new ActivationCheckpoints();
        checkpoints.backward(checkpoints.forward(() => lossOf(model.forward(images))));
        check();
      });
      model.dispose();
    });
});

test('images must consist of whole patches; the error names the sizes beside', () => {
  const model = buildBackbone({ arch: 'dinov2_vit_reg', ...SMALL });
  assert.throws(
    () => model.forward(zeros([1, 3, 70, 64])),
    (error) =>
      error instanceof ShapeError &&
      /70 x 64 pixels; expected a multiple of 14.*56 or 70/.test(error.message),
  );
  assert.throws(() => model.forward(zeros([1, 3, 8, 14])), /8 x 14 pixels.*such as 14/);
  assert.throws(() => model.forward(zeros([3, 70, 70])), /expected images \(B, 3, H, W\)/);
  assert.deepEqual(model.forward(zeros([2, 3, 14, 28])).shape, [2, 64]);
  model.dispose();
});

test('many images without gradients, a few in each thread, have the same features', () => {
  setNumThreads(2);
  for (const arch of KINDS) {
    const model = build(arch).eval();
    scope(() => {
      const images = inputOf([6, 3, 42, 56]);
      const one = noGrad(() => ops.cat([...images.split(1)].map((image) => model.forwardTokens(image))));
      const all = inferenceMode(() => model.forwardTokens(images).clone());
      assert.ok(largest(all.sub(one)) < 1e-5);
      const classes = inferenceMode(() => model.forward(images).clone());
      assert.ok(largest(classes.sub(one.select(1, 0))) < 1e-5);
    });
    model.dispose();
  }
  setNumThreads(1);
});

test('under autocast products are rounded, and branches scaled by 1e-5 do not vanish', () => {
  for (const arch of KINDS) {
    const model = build(arch).eval();
    scope(() =>
      noGrad(() => {
        const images = inputOf([2, 3, 42, 56]);
        const exact = model.forward(images);
        const rough = autocast({ device: 'cpu', dtype: 'bfloat16' }, () => model.forward(images));
        const off = largest(rough.sub(exact));
        assert.ok(off > 0 && off < 0.1, `off by ${off}`);
        for (const [name, parameter] of model.namedParameters())
          if (name.endsWith('.gamma')) parameter.fill_(1e-5);
        // small, so that the sum with them rounds little
        const tokens = model.prepareTokens(images).mul(0.01);
        const block = model.blocks.at(0) as Block;
        const branches = (): Tensor => block.forward(tokens).sub(tokens);
        const small = branches();
        const half = autocast({ device: 'cpu', dtype: 'float16' }, branches);
        assert.ok(largest(half.sub(small)) < 0.02 * largest(small));
      }),
    );
    model.dispose();
  }
});

test('a training step in a scope leaves nothing but gradients', () => {
  const model = build('dinov2_vit_reg').train();
  const step = (): void =>
    scope(() =>
      model
        .forward(inputOf([2, 3, 28, 28]))
        .pow(2)
        .mean()
        .backward(),
    );
  step();
  const before = liveTensors();
  step();
  noTensorLeft(before);
  model.dispose();
});
