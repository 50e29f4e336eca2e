/** DINOv3's networks against the original's (tools/fixtures/make_dinov3_fixtures.py). */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, describe, test } from 'node:test';
import { ShapeError } from '../errors.js';
import { ActivationCheckpoints, type Module } from '../nn/index.js';
import { assertMatches, readFixture } from '../testing/fixtures.js';
import { hashFill, hashValues } from '../testing/hash-fill.js';
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
import { ConvNeXt } from './convnext.js';
import { DinoV3Transformer } from './dinov3.js';
import { backboneShapes, buildBackbone } from './registry.js';
import { noTensorLeft } from '../testing/no-tensor-left.js';

interface Case {
  shape: [number, number, number, number];
  weightStd?: number;
  /** Of gradients: global and local crops. */
  shapes: [number, number, number, number][];
  seed: number;
  /** First values of what is drawn. */
  first: Record<string, number>;
  /** How many tensors the original's state has, and SHA-256 of their names and shapes. */
  tensors: number;
  state: string;
}

setNumThreads(1);
const transformers = readFixture<Case>('dinov3');
const convnexts = readFixture<Case>('convnext');
const TOLERANCE = { absolute: 1e-5 };

const narrow = { embedDim: 64, depth: 3, numHeads: 2, patchSize: 8 };
const VARIANTS = {
  mlp: () => new DinoV3Transformer(narrow),
  swiglu: () =>
    new DinoV3Transformer({ ...narrow, ffn: 'swiglu', hiddenDim: 128, qkvBias: false, localNorm: true }),
};
const narrowConvNeXt = (): ConvNeXt =>
  buildBackbone({ arch: 'dinov3_convnext', embedDim: 64, depth: 6 }) as ConvNeXt;

const inputOf = (name: string, shape: readonly number[]): Tensor =>
  fromTypedArray(hashValues(name, shape, 2), shape);

/** Hash weights, with wavelengths rounded to bfloat16 as in published files. */
function filled<M extends Module>(model: M, std = transformers.header['weightStd'] as number): M {
  hashFill(model, std);
  const periods = model.stateDict().get('rope_embed.periods');
  if (periods !== undefined) noGrad(() => periods.copy_(periods.to('bfloat16')));
  return model;
}

function assertState(shapes: Iterable<readonly [string, readonly number[]]>, { tensors, state }: Case): void {
  const lines = [...shapes].map(([name, shape]) => `${name} [${shape.join(', ')}]`).sort();
  assert.equal(lines.length, tensors);
  assert.equal(createHash('sha256').update(lines.join('\n')).digest('hex'), state, lines.join('\n'));
}

/** The original's state has the last norm of a ConvNeXt twice. */
function* withAliases(shapes: Iterable<readonly [string, readonly number[]]>) {
  for (const [name, shape] of shapes) {
    yield [name, shape] as const;
    if (/^norm\./.test(name)) yield [name.replace('norm', 'norms.3'), shape] as const;
  }
}

const shapesOf = (model: Module): [string, readonly number[]][] =>
  [...model.stateDict()].map(([name, { shape }]) => [name, shape]);

function assertFirst(model: Module, { first }: Case): void {
  for (const [name, value] of Object.entries(first)) {
    const found = Number(model.stateDict().get(name)?.flatten().select(0, 0).item());
    assert.ok(Math.abs(found - value) <= 1e-7, `${name}: ${found}, expected ${value}`);
  }
}

test('names and shapes are those of the hub’s networks', () => {
  for (const [fixture, aliased] of [
    [transformers, false],
    [convnexts, true],
  ] as const) {
    const names = Object.keys(fixture.cases).filter(
      (name) => /^dinov3_\w+$/.test(name) && fixture.cases[name]!.state,
    );
    assert.equal(names.length, aliased ? 4 : 8);
    for (const arch of names) {
      const shapes = backboneShapes({ arch });
      assertState(aliased ? withAliases(shapes) : shapes, fixture.cases[arch]!);
    }
  }
});

test('ViT-7B of both data sets has the same tensors', () => {
  const of = (arch: string): string => JSON.stringify([...backboneShapes({ arch })]);
  assert.equal(of('dinov3_vit7b16'), of('dinov3_vit7b16_sat493m'));
});

describe('initial weights are the original’s', () => {
  for (const [variant, build] of Object.entries(VARIANTS)) {
    test(variant, () => {
      const described = transformers.cases[variant]!;
      manualSeed(described.seed);
      const model = build();
      assertState(shapesOf(model), described);
      assertFirst(model, described);
      assert.ok(Object.keys(described.first).length >= 15);
      model.dispose();
    });
  }
  test('ConvNeXt', () => {
    const described = convnexts.cases['narrow']!;
    manualSeed(described.seed);
    const model = narrowConvNeXt();
    assertState(withAliases(shapesOf(model)), described);
    assertFirst(model, described);
    assert.ok(Object.keys(described.first).length >= 22);
    model.dispose();
  });
});

const sizesOf = (cases: object, model: string): string[] => {
  const names = Object.keys(cases).filter((name) => name.startsWith(`${model}/`) && /\dx\d+$/.test(name));
  assert.ok(names.length > 0, model);
  return names;
};

describe('features, tokens and attention are the original’s to 1e-5, at square and other sizes', () => {
  for (const [name, build] of Object.entries({
    ...VARIANTS,
    dinov3_vits16: () => buildBackbone({ arch: 'dinov3_vits16' }) as DinoV3Transformer,
    dinov3_vits16plus: () => buildBackbone({ arch: 'dinov3_vits16plus' }) as DinoV3Transformer,
  })) {
    describe(name, () => {
      const sizes = sizesOf(transformers.cases, name);
      const model = filled(build(), transformers.cases[sizes[0]!]!.weightStd).eval();
      after(() => model.dispose());
      for (const each of sizes)
        test(each, () => {
          scope(() =>
            inferenceMode(() => {
              const images = inputOf('input', transformers.cases[each]!.shape);
              const matches = (what: string, tensor: Tensor): number =>
                assertMatches(transformers, `${each}/${what}`, tensor, TOLERANCE);
              matches('class', model.forward(images));
              const tokens = model.forwardTokens(images);
              matches('storage', tokens.slice(1, 1, model.prefixTokens));
              matches('patches', tokens.slice(1, model.prefixTokens));
              for (const [i, layer] of model.getIntermediateLayers(images, 2).entries())
                matches(`layer${i}`, layer);
              const attention = model.getLastSelfAttention(images);
              matches('attention', attention);
              matches('class-attention', attention.select(2, 0));
              // what is shown: the class token's own, then the patches', in the original's numbers
              const row = model.getLastClassAttention(images); // (B, heads, 1, 1 + N)
              const own = attention.slice(2, 0, 1);
              const expected = ops.cat([own.slice(3, 0, 1), own.slice(3, model.prefixTokens)], 3);
              assert.ok(row.sub(expected).abs().max().item() < 1e-6);
            }),
          );
        });
    });
  }

  for (const [name, build] of [
    ['narrow', narrowConvNeXt],
    ['dinov3_convnext_tiny', () => buildBackbone({ arch: 'dinov3_convnext_tiny' }) as ConvNeXt],
  ] as const) {
    describe(`ConvNeXt ${name}`, () => {
      const model = filled(build()).eval();
      after(() => model.dispose());
      for (const each of sizesOf(convnexts.cases, name))
        test(each, () => {
          scope(() =>
            inferenceMode(() => {
              const images = inputOf('input', convnexts.cases[each]!.shape);
              assertMatches(convnexts, `${each}/class`, model.forward(images), TOLERANCE);
              const tokens = model.forwardTokens(images);
              assertMatches(convnexts, `${each}/patches`, tokens.slice(1, 1), TOLERANCE);
              assert.ok(tokens.select(1, 0).sub(model.forward(images)).abs().max().item() < 1e-6);
            }),
          );
        });
    });
  }
});

describe('gradients are the original’s to 1e-5 of the largest, of global and local crops', () => {
  const cases = [
    ...Object.entries(VARIANTS).map(([name, build]) => [transformers, name, build] as const),
    [convnexts, 'narrow', narrowConvNeXt] as const,
  ];
  for (const [fixture, variant, build] of cases)
    for (const isCheckpointed of [false, true])
      test(`${variant}${isCheckpointed ? ', its activations recomputed' : ''}`, () => {
        scope(() => {
          const name = `${variant}/gradients`;
          const { shapes } = fixture.cases[name]!;
          const model = filled(build()).train();
          const images = shapes.map((shape, i) => new Parameter(inputOf(`input${i}`, shape)));
          const forward = (): Tensor =>
            ops.cat(
              images.map((batch, i) => (i === 0 ? model.forward(batch) : model.forwardLocal(batch))),
              0,
            );
          const lossOf = (out: Tensor): Tensor =>
            out.mul(fromTypedArray(hashValues('grad_output', out.shape), out.shape)).sum();
          const checkpoints = new ActivationCheckpoints();
          const out = isCheckpointed ? checkpoints.forward(forward) : forward();
          assertMatches(fixture, `${name}/class`, out, TOLERANCE);
          if (isCheckpointed) checkpoints.backward(lossOf(out));
          else lossOf(out).backward();
          const inputs = images.map((batch, i) => [`input${i}`, batch] as const);
          for (const [key, parameter] of [...model.namedParameters(), ...inputs]) {
            assert.ok(parameter.grad, key);
            assertMatches(fixture, `${name}/grad/${key}`, parameter.grad, { relative: 1e-5 });
          }
          model.dispose();
        });
      });
});

test('stochastic depth is at work while training only', () => {
  scope(() =>
    noGrad(() => {
      for (const model of [
        new DinoV3Transformer({ ...narrow, dropPathRate: 0.5 }),
        new ConvNeXt({ layers: [1, 1, 2, 1], width: 8, dropPathRate: 0.5 }),
      ]) {
        filled(model).train();
        manualSeed(1);
        const images = rand([4, 3, 32, 40]);
        const once = model.forward(images);
        assert.ok(model.forward(images).sub(once).abs().max().item() > 1e-3);
        model.eval();
        assert.deepEqual(model.forward(images).toArray(), model.forward(images).toArray());
        model.dispose();
      }
    }),
  );
});

test('bfloat16 gives nearly the same, and no tensor is left behind', () => {
  const models = [...Object.values(VARIANTS).map((build) => build()), narrowConvNeXt()];
  for (const model of models) {
    filled(model).eval();
    const images = inputOf('input', [2, 3, 32, 32]);
    const before = liveTensors();
    scope(() =>
      inferenceMode(() => {
        const exact = model.forward(images);
        const half = autocast({ device: 'cpu', dtype: 'bfloat16' }, () => model.forward(images));
        const off = half.to('float32').sub(exact).abs().max().item();
        assert.ok(off > 0 && off < 0.1, `${off}`);
      }),
    );
    noTensorLeft(before);
    model.dispose();
  }
});

test('images smaller than a patch, and sizes that do not fit together, are refused', () => {
  const model = new DinoV3Transformer(narrow);
  assert.throws(() => model.forward(zeros([1, 3, 7, 32])), ShapeError);
  assert.throws(() => model.forward(zeros([3, 32, 32])), /expected images \(B, 3, H, W\)/);
  assert.throws(() => new DinoV3Transformer({ ...narrow, numHeads: 32 }), /four times numHeads, 128/);
  assert.throws(() => narrowConvNeXt().forward(zeros([1, 3, 31, 64])), /at least 32 x 32/);
  assert.throws(
    () => buildBackbone({ arch: 'dinov3_convnext', embedDim: 64, depth: 5 }),
    /depth that 6 divides, got 64 and 5/,
  );
});
