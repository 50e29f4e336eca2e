/** What is exported is read back as it was, without a word about what it is: every architecture, every format. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import {
  architectureNames,
  type Backbone,
  buildBackbone,
  type BackboneOptions,
  IMAGENET,
  ownSizes,
} from '../models/index.js';
import { withoutInit } from '../nn/index.js';
import { writeTinyRun } from '../testing/saved-run.js';
import { inferenceMode, noGrad, rand, scope, type Tensor } from '../torch/index.js';
import type { Architecture } from './architecture.js';
import { formatDescription } from '../cli/weights/describe.js';
import { describeWeights } from './describe.js';
import { exportWeights } from './export-weights.js';
import { loadModel, type Model } from '../model.js';
import { buildOnnx } from '../export/onnx/export-onnx.js';
import { writePth } from './pth-write.js';
import { recordOf } from './record.js';
import { readSafetensors, writeSafetensors } from './safetensors.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-round-trip-'));
const at = (name: string): string => path.join(folder, name);
after(() => rmSync(folder, { recursive: true }));
const FORMATS = ['safetensors', 'pth'] as const;

const featuresOf = ({ backbone }: Pick<Model, 'backbone'>, images: Tensor): number[] =>
  scope(() => inferenceMode(() => backbone.forward(images).toArray()));

function assertNear(actual: readonly number[], expected: readonly number[], where: string): void {
  const largest = Math.max(...expected.map(Math.abs));
  assert.ok(largest > 0 && expected.every(Number.isFinite), `${where}: features that say nothing`);
  for (const [i, value] of actual.entries())
    assert.ok(Math.abs(value - (expected[i] as number)) <= 1e-6 * Math.max(1, largest), `${where} [${i}]`);
}

/** A network of random weights, batch norms' statistics too. */
function filled(options: BackboneOptions): Backbone {
  const network = withoutInit(() => buildBackbone(options)).eval();
  noGrad(() => {
    for (const [name, tensor] of network.stateDict()) {
      if (name.endsWith('running_var')) tensor.uniform_(0.5, 1.5);
      else if (name.endsWith('num_batches_tracked')) tensor.fill_(3);
      else tensor.normal_(0, 0.05);
    }
  });
  return network;
}

/** All architectures, which takes a minute or two. */
const isLarge = process.env['DINO_TEST_LARGE'] !== undefined;

/** Sizes that nothing in the tensors tells, or that a guess would miss. */
const CASES: readonly (BackboneOptions & { name: string })[] = [
  { name: 'more heads than usual', arch: 'vit', embedDim: 128, depth: 2, numHeads: 4, patchSize: 8, imgSize: 48 },
  { name: 'one head', arch: 'vit', embedDim: 256, depth: 1, numHeads: 1, patchSize: 3, imgSize: 27 },
  { name: 'heads of one channel', arch: 'vit', embedDim: 6, depth: 2, numHeads: 6, patchSize: 5, imgSize: 35 },
  { name: 'no power of two', arch: 'vit', embedDim: 200, depth: 1, numHeads: 5, patchSize: 7, imgSize: 49 },
  { name: 'a width of the reference with other heads', arch: 'vit', embedDim: 192, depth: 12, numHeads: 6, patchSize: 16, imgSize: 32 },
  ...architectureNames
    // those that are named by their sizes
    .filter((arch) => ownSizes(arch).length === 0 && !arch.startsWith('deit') && !arch.includes('vit7b')) // 27 GB
    // of each family the smallest: the others differ from it in numbers alone
    .filter((arch) => isLarge || /vit_tiny|resnet18|small_12_p16|vits14_reg/.test(arch))
    .map((arch) => ({ name: arch, arch, patchSize: 14, imgSize: 42 })),
]; // prettier-ignore

describe('an exported model is read back without a flag', () => {
  for (const { name, ...options } of CASES) {
    it(name, () => {
      const images = rand([2, 3, 56, 42]);
      const network = filled(options);
      const expected = featuresOf({ backbone: network }, images);
      const state = network.stateDict();
      // as a run says it: the architecture is known, and an image size that no tensor tells
      const hasPatches = options.arch.startsWith('vit');
      const architecture = {
        ...{
          arch: options.arch as Architecture['arch'],
          embedDim: network.embedDim,
          depth: options.depth ?? 12,
        },
        ...{
          numHeads: options.numHeads ?? 6,
          patchSize: options.patchSize ?? 16,
          imgSize: options.imgSize ?? 224,
        },
      };
      const { arch, image_size, num_heads } = recordOf(architecture, IMAGENET);
      const record = { arch, image_size, ...(options.arch === 'vit' ? { num_heads } : {}) };
      writeSafetensors(at('source.safetensors'), state, record as Record<string, string>);
      network.dispose();
      let source = at('source.safetensors');
      for (const format of FORMATS) {
        const output = at(`exported.${format}`);
        const { warnings } = exportWeights(source, { format, output });
        assert.deepEqual(warnings, [], format);
        using model = loadModel(output, { device: 'cpu' });
        assert.deepEqual(model.origin.warnings, [], format);
        assertNear(featuresOf(model, images), expected, format);
        const { architecture: found } = model;
        assert.equal(found.arch, options.arch);
        assert.equal(found.imgSize, options.imgSize);
        if (hasPatches) assert.equal(found.patchSize, options.patchSize);
        if (options.numHeads !== undefined) assert.equal(found.numHeads, options.numHeads);
        assert.deepEqual(describeWeights(output).architecture, found);
        source = output; // the next one is made of this one
      }
    });
  }
});

describe('what a run knows', () => {
  const run = at('run');
  before(() => writeTinyRun(run).dispose());

  it('is in every file that is made of it, with and without its head', () => {
    const images = rand([2, 3, 32, 32]);
    using whole = loadModel(run, { device: 'cpu' });
    const expected = featuresOf(whole, images);
    for (const format of FORMATS) {
      for (const withHead of [false, true]) {
        const output = at(`of-run-${withHead}.${format}`);
        exportWeights(run, { format, output, withHead });
        using model = loadModel(output, { device: 'cpu' });
        assert.deepEqual(model.architecture, whole.architecture);
        assertNear(featuresOf(model, images), expected, output);
        assert.deepEqual(model.origin.warnings, []);
        assert.doesNotMatch(formatDescription(describeWeights(output)), /guess/);
      }
    }
    const props = new Map(
      buildOnnx(whole, { size: null, outputs: { classToken: 'class_token' } }).metadataProps.map(
        ({ key, value }) => [key, value],
      ),
    );
    assert.deepEqual(
      ['arch', 'embed_dim', 'depth', 'num_heads', 'patch_size', 'image_size', 'center_crop'].map((key) =>
        props.get(key),
      ),
      ['vit', '24', '3', '3', '8', '32', '32'],
    );
  });

  it('is said to be missing where a file lost it, and is not made up by the next export', () => {
    exportWeights(run, { format: 'safetensors', output: at('good.safetensors') });
    const { tensors } = readSafetensors(at('good.safetensors'));
    const lost = at('lost.safetensors');
    writeSafetensors(lost, tensors, { format: 'pt' });
    const told: string[] = [];
    const again = at('again.pth');
    using model = loadModel(lost, { device: 'cpu', onWarning: (message) => told.push(message) });
    assert.equal(model.architecture.numHeads, 1);
    assert.equal(told.length, 1);
    assert.match(
      told[0]!,
      /lost\.safetensors doesn't say how many attention heads .*: 1 is taken .*a guess.*--num-heads/,
    );
    assert.match(formatDescription(describeWeights(lost)), /1 head \(a guess: --num-heads\)/);
    // the export of a guess is a guess
    assert.equal(exportWeights(lost, { format: 'pth', output: again }).warnings.length, 1);
    assert.equal(describeWeights(again).headsAreGuess, true);
    // and with the number told it is none
    assert.deepEqual(exportWeights(lost, { format: 'pth', output: again, numHeads: 3 }).warnings, []);
    const { architecture, headsAreGuess } = describeWeights(again);
    assert.deepEqual([architecture.numHeads, headsAreGuess], [3, false]);
    // who says otherwise is heard, and told
    assert.match(
      describeWeights(again, { numHeads: 6 }).warnings.join(),
      /--num-heads 6 is taken, where the file says 3/,
    );
    assert.throws(() => describeWeights(again, { numHeads: 7 }), /width 24 can't be divided among 7 heads/);
    // a record that was left beside other tensors
    writeSafetensors(lost, tensors, { num_heads: '3', embed_dim: '48' });
    const stale = describeWeights(lost);
    assert.equal(stale.headsAreGuess, true);
    assert.match(stale.warnings.join('\n'), /says of itself width 48, and its tensors 24: .* not used/);
  });

  const python = process.env['DINO_TEST_PYTHON'];
  it(
    'is no obstacle to PyTorch: weights_only, strict, and a state dict that is saved again',
    { skip: python === undefined && 'DINO_TEST_PYTHON names no Python with torch' },
    () => {
      exportWeights(run, { format: 'pth', output: at('python.pth') });
      const program = [
        'import sys, torch',
        'd = torch.load(sys.argv[1], weights_only=True)',
        'assert all(isinstance(v, torch.Tensor) for v in d.values()), "nothing but tensors"',
        "assert d.model_record['num_heads'] == '3'",
        'm = torch.nn.Module(); m.cls_token = torch.nn.Parameter(torch.zeros(1, 1, 24))',
        'print(m.load_state_dict(d, strict=False).missing_keys == [])',
        'n = torch.nn.Module(); n.load_state_dict({}, strict=True)',
        "sub = type(d)((k, v) for k, v in d.items() if k == 'cls_token'); sub.__dict__.update(d.__dict__); m.load_state_dict(sub, strict=True)",
        'torch.save({"model": d, "epoch": 3}, sys.argv[2])',
      ].join('\n');
      execFileSync(python!, ['-c', program, at('python.pth'), at('resaved.pth')]);
      const { architecture, headsAreGuess, network } = describeWeights(at('resaved.pth'));
      assert.deepEqual([architecture.numHeads, headsAreGuess, network], [3, false, 'model']);
    },
  );
});

it('a lone ResNet without a word is read at 224 pixels, as the reference does', () => {
  const network = withoutInit(() => buildBackbone({ arch: 'resnet18' }));
  writePth(at('resnet.pth'), network.stateDict());
  network.dispose();
  assert.equal(describeWeights(at('resnet.pth')).architecture.imgSize, 224);
  assert.throws(() => describeWeights(at('resnet.pth'), { numHeads: 4 }), /has no attention heads/);
  writeFileSync(at('resnet.pth'), '');
  assert.throws(() => describeWeights(at('resnet.pth')), /is empty/);
});
