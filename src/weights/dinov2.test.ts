/** DINOv2's weights as the original, Hugging Face and timm store them (tools/fixtures/make_dinov2_fixtures.py). */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { CheckpointError } from '../errors.js';
import { loadModel } from '../model.js';
import { architectureEntry } from '../models/index.js';
import { assertMatches, readFixture } from '../testing/fixtures.js';
import { hashValues, hashWeight } from '../testing/hash-fill.js';
import { fromTypedArray, inferenceMode, ones, scope, type Tensor } from '../torch/index.js';
import { inferArchitecture } from './architecture.js';
import { describeWeights } from './describe.js';
import { exportWeights } from './export-weights.js';
import { writePth } from './pth-write.js';
import { writeSafetensors } from './safetensors.js';

type State = [name: string, shape: number[]][];
interface Library {
  config?: Record<string, unknown>;
  tensors: State;
  inMemory?: State;
  features: number[];
}

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-dinov2-'));
const at = (...names: string[]): string => path.join(folder, ...names);
after(() => rmSync(folder, { recursive: true }));
const fixture = readFixture<{ state: State; shape: number[] }>('dinov2');
const weightStd = fixture.header['weightStd'] as number;
const names = JSON.parse(
  readFileSync(new URL('../../test/fixtures/weights/dinov2-names.json', import.meta.url), 'utf8'),
) as Record<'transformers' | 'timm', Record<string, Library>> & { std: number; images: number[] };
const KINDS = ['dinov2_vit', 'dinov2_vit_reg', 'dinov2_vit_swiglu', 'dinov2_vit_swiglu_reg'];

const filled = (state: State, std: number): Map<string, Tensor> =>
  new Map(state.map(([name, shape]) => [name, fromTypedArray(hashWeight(name, shape, std), shape)]));
const original = (name: string): Map<string, Tensor> => filled(fixture.cases[name]!.state, weightStd);
const prefixed = (prefix: string, state: ReadonlyMap<string, Tensor>): [string, Tensor][] =>
  [...state].map(([name, tensor]) => [prefix + name, tensor]);
const inputOf = (shape: readonly number[]): Tensor => fromTypedArray(hashValues('input', shape, 2), shape);

describe("the original's .pth", () => {
  for (const arch of KINDS)
    it(`of a ${arch} is read: told by its tensors, to the original's features`, () => {
      const file = at(`${arch}.pth`);
      writePth(file, original(arch));
      using model = loadModel(file, { device: 'cpu', numHeads: 2 });
      const { architecture } = model;
      assert.deepEqual(architecture, {
        ...{ arch, embedDim: 64, depth: 3, numHeads: 2, patchSize: 14 },
        ...{ imgSize: 70, positionsSize: 70, wholePatches: true },
      });
      assert.deepEqual(model.origin.notes, []);
      for (const size of ['70x70', '98x112'])
        scope(() =>
          inferenceMode(() => {
            const { shape } = fixture.cases[`${arch}/${size}`]!;
            const features = model.backbone.forward(inputOf(shape));
            assertMatches(fixture, `${arch}/${size}/class`, features, { absolute: 1e-5 });
          }),
        );
      // what comes back out is the same file: mask token and registers are part of it
      for (const format of ['pth', 'safetensors'] as const) {
        const output = at(`${arch}-again.${format}`);
        exportWeights(file, { format, output, numHeads: 2 });
        using again = loadModel(output, { device: 'cpu' });
        const [before, then] = [model, again].map(({ backbone }) => backbone.stateDict());
        assert.deepEqual([...then!.keys()], [...before!.keys()]);
        for (const [name, tensor] of then!) assert.ok(tensor.equal(before!.get(name)!), name);
        assert.deepEqual(again.architecture, architecture);
      }
    });

  it('of a release is told by its sizes: made for 224 pixels, with positions for 518', () => {
    for (const arch of ['dinov2_vits14', 'dinov2_vits14_reg', 'dinov2_vitb14', 'dinov2_vitl14_reg', 'dinov2_vitg14', 'dinov2_vitg14_reg']) {
      const found = inferArchitecture(new Map(fixture.cases[arch]!.state), 'file');
      const entry = architectureEntry(arch)!;
      assert.deepEqual(found, {
        ...{ arch, embedDim: entry.embedDim, depth: entry.depth, numHeads: entry.numHeads, patchSize: 14 },
        ...{ imgSize: 224, positionsSize: 518, wholePatches: true },
      });
    } // prettier-ignore
  });

  it("in chunks of blocks, as its training saves the teacher, is read beside the training's heads", () => {
    const file = at('teacher_checkpoint.pth');
    const { state, shape } = fixture.cases['chunked']!;
    assert.ok(state.some(([name]) => name.startsWith('blocks.1.1.')));
    const heads = new Map([
      ['dino_head.mlp.0.weight', ones([8, 64])],
      ['ibot_head.mlp.0.weight', ones([8, 64])],
    ]);
    writePth(
      file,
      new Map([...prefixed('teacher.backbone.', filled(state, weightStd)), ...prefixed('teacher.', heads)]),
    );
    using model = loadModel(file, { device: 'cpu', numHeads: 2 });
    assert.equal(model.architecture.arch, 'dinov2_vit_reg');
    scope(() =>
      inferenceMode(() => {
        const features = model.backbone.forward(inputOf(shape));
        assertMatches(fixture, 'chunked/class', features, { absolute: 1e-5 });
      }),
    );
    assert.equal(
      describeWeights(file, { numHeads: 2 }).backboneParameters,
      state.reduce((sum, [, size]) => sum + size.reduce((a, b) => a * b), 0),
    );
  });
});

/** Whether a model gives the library's features. */
function assertFeatures(weights: string, arch: string, { features }: Library, numHeads?: number): void {
  using model = loadModel(weights, { device: 'cpu', ...(numHeads === undefined ? {} : { numHeads }) });
  assert.equal(model.architecture.arch, arch);
  const images = fromTypedArray(hashValues('images', names.images), names.images);
  const found = scope(() => inferenceMode(() => model.backbone.forward(images).toArray()));
  assert.equal(found.length, features.length);
  for (const [i, value] of found.entries())
    assert.ok(Math.abs(value - features[i]!) < 1e-5, `${weights} [${i}]: ${value} and ${features[i]}`);
}

describe("Hugging Face's files", () => {
  for (const arch of KINDS)
    it(`of a ${arch} are read, whole and in parts, with both kinds of names`, () => {
      const library = names.transformers[arch]!;
      const place = at(`${arch}-hf`);
      mkdirSync(place);
      writeFileSync(path.join(place, 'config.json'), JSON.stringify(library.config));
      const state = filled(library.tensors, names.std);
      writeSafetensors(path.join(place, 'model.safetensors'), state, { format: 'pt' });
      assertFeatures(place, arch, library);
      assert.equal(describeWeights(place).layout, 'transformers');
      assert.deepEqual(describeWeights(place).unused, []);
      rmSync(path.join(place, 'model.safetensors'));

      const entries = [...state];
      const parts = [entries.slice(0, 20), entries.slice(20)].map((part) => new Map(part));
      const weightMap: Record<string, string> = {};
      for (const [i, part] of parts.entries()) {
        const shard = `model-0000${i + 1}-of-00002.safetensors`;
        writeSafetensors(path.join(place, shard), part, { format: 'pt' });
        for (const name of part.keys()) weightMap[name] = shard;
      }
      writeFileSync(
        path.join(place, 'model.safetensors.index.json'),
        JSON.stringify({ metadata: {}, weight_map: weightMap }),
      );
      assertFeatures(place, arch, library);

      // with a classifier around it, as Dinov2ForImageClassification has it
      const classifier = at(`${arch}-classifier.safetensors`);
      const inside = arch.endsWith('_reg') ? 'dinov2_with_registers.' : 'dinov2.';
      writeSafetensors(
        classifier,
        new Map([...prefixed(inside, state), ['classifier.weight', ones([5, 48])]]),
        { format: 'pt' },
      );
      assertFeatures(classifier, arch, library, 3);
      assert.deepEqual(describeWeights(classifier, { numHeads: 3 }).unused, ['classifier.weight']);
    });

  it('named as transformers 5 has them in memory are read too', () => {
    for (const arch of KINDS) {
      const library = names.transformers[arch]!;
      // the same values: those in the file, whose names they are filled by, under the names in memory
      const state = filled(library.tensors, names.std);
      const renamed = new Map<string, Tensor>();
      for (const [name, tensor] of state) {
        const plain = name
          .replace(/attention\.attention\.(.)\w+\./, 'attention.$1_proj.')
          .replace('attention.output.dense', 'attention.o_proj')
          .replace('mlp.weights_out', 'mlp.down_proj');
        if (!plain.includes('mlp.weights_in')) renamed.set(plain, tensor);
        else
          for (const [i, part] of [...tensor.chunk(2, 0)].entries())
            renamed.set(plain.replace('weights_in', i === 0 ? 'gate_proj' : 'up_proj'), part.contiguous());
      }
      assert.deepEqual([...renamed.keys()].sort(), library.inMemory!.map(([name]) => name).sort());
      const file = at(`${arch}-memory.pth`);
      writePth(file, renamed);
      assertFeatures(file, arch, library, 3);
      const broken = new Map(renamed);
      broken.delete('encoder.layer.1.attention.k_proj.bias');
      writePth(file, broken);
      assert.throws(() => loadModel(file), /missing: blocks\.1\.attn\.k\.bias/);
    }
  });
});

describe("timm's files", () => {
  for (const arch of KINDS)
    it(`of a ${arch} are read: the class token's position, registers, gates, no mask token`, () => {
      const library = names.timm[arch]!;
      const state = filled(library.tensors, names.std);
      const file = at(`${arch}-timm.safetensors`);
      writeSafetensors(file, state, { format: 'pt' });
      assertFeatures(file, arch, library, 3);
      const { notes, unused, architecture } = describeWeights(file, { numHeads: 3 });
      assert.match(notes.join('\n'), /has no mask_token.*zeros take its place/);
      assert.deepEqual(unused, []);
      assert.equal(architecture.positionsSize, 70);
      // in half precision too, and exported again in the original's form
      writeSafetensors(file, new Map([...state].map(([name, tensor]) => [name, tensor.to('float16')])), {
        format: 'pt',
      });
      const output = at(`${arch}-timm.pth`);
      exportWeights(file, { format: 'pth', output, numHeads: 3 });
      const again = describeWeights(output);
      assert.deepEqual([again.notes, again.architecture.numHeads], [[], 3]);
    });
});

it('what is not whole, and what only resembles it, is refused with what is missing', () => {
  const state = original('dinov2_vit_reg');
  const file = at('broken.pth');
  const says = (tensors: ReadonlyMap<string, Tensor>, pattern: RegExp): void => {
    writePth(file, tensors);
    assert.throws(
      () => loadModel(file, { numHeads: 2 }),
      (error) => error instanceof CheckpointError && pattern.test(error.message),
      String(pattern),
    );
  };
  const without = (pattern: RegExp): Map<string, Tensor> =>
    new Map([...state].filter(([name]) => !pattern.test(name)));
  says(without(/blocks\.1\.ls2/), /don't fit a dinov2_vit_reg:\n {2}missing: blocks\.1\.ls2\.gamma/);
  says(new Map([...state, ['register_tokens', ones([1, 3, 64])]]), /3 registers; known are .*dinov2_vit_reg/);
  says(new Map([...state, ['pos_embed', ones([1, 24, 64])]]), /pos_embed holds 23 patches/);
  // DeiT III: LayerScale, no mask token, patches of 16
  says(
    new Map([...without(/mask|register|patch_embed/), ['patch_embed.proj.weight', ones([64, 3, 16, 16])], ['patch_embed.proj.bias', ones([64])]]),
    /weights of a vision transformer with LayerScale, .*such as DeiT III: not read/,
  ); // prettier-ignore
});
