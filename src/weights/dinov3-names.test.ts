/** DINOv3's networks in the files of other libraries (tools/fixtures/make_dinov3_names_fixture.py): the same features. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { CheckpointError } from '../errors.js';
import { loadModel } from '../model.js';
import {
  ARCHITECTURES,
  type Backbone,
  backboneShapes,
  DinoV3Transformer,
  type TokenBackbone,
} from '../models/index.js';
import { hashValues, hashWeight } from '../testing/hash-fill.js';
import { fromTypedArray, inferenceMode, ops, scope, type Tensor } from '../torch/index.js';
import { inferArchitecture } from './architecture.js';
import { describeWeights } from './describe.js';
import { backboneSources } from './names.js';
import { writePth } from './pth-write.js';
import { writeSafetensors } from './safetensors.js';

type Shapes = [name: string, shape: number[]][];
interface NamesCase {
  config?: Record<string, unknown>;
  shape: number[];
  tensors: Shapes;
  inMemory?: string[];
  /** (B, D), flat. */
  features: number[];
  /** All tokens' sum, (B, D), flat. */
  patches?: number[];
}
const { std, cases, known } = JSON.parse(
  readFileSync(
    fileURLToPath(new URL('../../test/fixtures/weights/dinov3-names.json', import.meta.url)),
    'utf8',
  ),
) as { std: number; cases: Record<string, NamesCase>; known: Record<string, { tensors: Shapes }> };

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-dinov3-names-'));
after(() => rmSync(folder, { recursive: true }));
const at = (name: string): string => path.join(folder, name);

/** The file's tensors; `rename` gives their names. */
const stateOf = (
  { tensors }: NamesCase,
  rename: (name: string, i: number) => string = (name) => name,
): Map<string, Tensor> =>
  new Map(
    tensors.map(([name, shape], i) => [
      rename(name, i),
      fromTypedArray(hashWeight(name, shape, std), shape).keep(),
    ]),
  );

function assertFeatures(backbone: Backbone, { shape, features, patches }: NamesCase): void {
  const close = (found: Tensor, expected: number[]): void => {
    const values = found.flatten().toArray();
    assert.equal(values.length, expected.length);
    values.forEach((value, i) =>
      assert.ok(Math.abs(value - expected[i]!) < 1e-5, `${value}, ${expected[i]}`),
    );
  };
  scope(() =>
    inferenceMode(() => {
      const images = fromTypedArray(hashValues('images', shape), shape);
      close(backbone.forward(images), features);
      // to the sum of 16 to 20 tokens
      if (patches === undefined) return;
      const tokens = (backbone as TokenBackbone).forwardTokens(images);
      const sums = tokens.sum([1]).flatten().toArray();
      sums.forEach((value, i) => assert.ok(Math.abs(value - patches[i]!) < 1e-4));
    }),
  );
}

/** A folder as save_pretrained() writes it, in one file or in two with an index. */
function pretrained(name: string, state: Map<string, Tensor>, config: unknown, isSharded: boolean): string {
  mkdirSync(at(name));
  writeFileSync(path.join(at(name), 'config.json'), JSON.stringify(config));
  if (!isSharded) {
    writeSafetensors(path.join(at(name), 'model.safetensors'), state, { format: 'pt' });
    return at(name);
  }
  const map: Record<string, string> = {};
  for (const part of [0, 1]) {
    const shard = `model-0000${part + 1}-of-00002.safetensors`;
    const own = new Map([...state].filter((_, i) => i % 2 === part));
    for (const key of own.keys()) map[key] = shard;
    writeSafetensors(path.join(at(name), shard), own, { format: 'pt' });
  }
  const index = path.join(at(name), 'model.safetensors.index.json');
  writeFileSync(index, JSON.stringify({ metadata: {}, weight_map: map }));
  return at(name);
}

describe('to the same features as the library computes', () => {
  for (const kind of ['vit', 'convnext'])
    for (const isSharded of [false, true])
      it(`a folder of transformers, ${kind}${isSharded ? ', in two files' : ''}`, () => {
        const given = cases[`transformers/${kind}`]!;
        const weights = pretrained(`${kind}-${isSharded}`, stateOf(given), given.config, isSharded);
        using model = loadModel(weights, { device: 'cpu' });
        assert.equal(model.architecture.arch, kind === 'vit' ? 'dinov3_vit' : 'dinov3_convnext');
        assert.equal(model.architecture.numHeads, kind === 'vit' ? 2 : 0);
        assert.deepEqual(model.origin.warnings, []);
        assertFeatures(model.backbone, given);
        const { layout, unused } = describeWeights(weights);
        assert.deepEqual([layout, unused], ['transformers', []]);
      });

  for (const kind of ['vit', 'convnext'])
    it(`names that transformers 5 has in memory, ${kind}, below a prefix`, () => {
      const given = cases[`transformers/${kind}`]!;
      const inMemory = given.inMemory!.filter((name) =>
        given.tensors.some(([other]) => name.endsWith(other)),
      );
      assert.equal(inMemory.length, given.tensors.length);
      const file = at(`memory-${kind}.pth`);
      const rename = (name: string): string =>
        `teacher.backbone.${inMemory.find((other) => other.replace(/^model\./, '') === name)!}`;
      writePth(file, new Map([['state_dict', stateOf(given, rename)]]));
      using model = loadModel(file, { device: 'cpu', ...(kind === 'vit' ? { numHeads: 2 } : {}) });
      assertFeatures(model.backbone, given);
    });

  for (const kind of ['vit', 'without-bias', 'convnext'])
    it(`a file of timm, ${kind}`, () => {
      const given = cases[`timm/${kind}`]!;
      const file = at(`timm-${kind}.safetensors`);
      writeSafetensors(file, stateOf(given));
      using model = loadModel(file, { device: 'cpu', ...(kind === 'convnext' ? {} : { numHeads: 2 }) });
      assertFeatures(model.backbone, given);
      assert.deepEqual(model.origin.warnings, []);
      assert.equal(describeWeights(file, kind === 'convnext' ? {} : { numHeads: 2 }).layout, 'timm');
      if (kind === 'convnext') return;
      const [warning = ''] = describeWeights(file).warnings;
      assert.match(warning, /doesn't say how many attention heads/);
    });

  for (const library of ['transformers', 'timm'])
    it(`SwiGLU of ${library}`, () => {
      const given = cases[`${library}/swiglu`]!;
      const state = stateOf(given);
      const shapes = new Map(given.tensors);
      const { sources, makes } = backboneSources(shapes, { prefix: '' }, [], 'file', { numHeads: 2 });
      const own = new Map(
        [...sources].map(([name, from]) => {
          const parts = from.map((each) => state.get(each)!);
          return [name, makes.get(name)?.(parts) ?? ops.cat(parts)] as const;
        }),
      );
      const sizes = { embedDim: 64, depth: 2, numHeads: 2, patchSize: 8 };
      const hiddenDim = own.get('blocks.0.mlp.w1.weight')!.size(0);
      const model = new DinoV3Transformer({ ...sizes, ffn: 'swiglu', hiddenDim }).eval();
      model.loadStateDict(own);
      assertFeatures(model, given);
      model.dispose();
    });
});

describe('published sizes are told by names and shapes', () => {
  for (const [name, { tensors }] of Object.entries(known))
    it(name, () => {
      const arch = name.replace(/^.*\//, '') as keyof typeof ARCHITECTURES;
      // the fixture has the first block
      const shapes = new Map(
        tensors.flatMap(([key, shape]) => {
          const blocks = /(layer|blocks)\.0\./.test(key) ? (ARCHITECTURES[arch].depth as number) : 1;
          return Array.from(
            { length: blocks },
            (_, i) => [key.replace(/(layer|blocks)\.0\./, `$1.${i}.`), shape] as const,
          );
        }),
      );
      const found = backboneSources(shapes, { prefix: '' }, [], 'file');
      assert.equal(inferArchitecture(found.shapes, 'file').arch, arch);
      const expected = [...backboneShapes({ arch })].map(([key, shape]) => [key, [...shape]] as const);
      assert.deepEqual(new Map([...found.shapes].sort()), new Map(expected.sort()));
      assert.deepEqual(found.unused, []);
    });
});

it('what is missing of a block is named', () => {
  const given = cases['transformers/vit']!;
  const state = stateOf(given);
  state.delete('layer.1.attention.k_proj.weight');
  const file = at('missing.safetensors');
  writeSafetensors(file, state);
  assert.throws(
    () => loadModel(file, { device: 'cpu' }),
    (error) => error instanceof CheckpointError && /missing: blocks\.1\.attn\.k\.weight/.test(error.message),
  );
  const odd = stateOf(given);
  odd.delete('layer.1.attention.v_proj.bias');
  writeSafetensors(file, odd);
  assert.throws(() => loadModel(file, { device: 'cpu' }), /missing: blocks\.1\.attn\.v\.bias/);
  const more = stateOf(given);
  more.set('layer.1.extra.weight', fromTypedArray(new Float32Array(2), [2]));
  writeSafetensors(file, more);
  assert.throws(() => loadModel(file, { device: 'cpu' }), /unexpected: layer\.1\.extra\.weight/);
});
