import assert from 'node:assert/strict';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { MultiCropWrapper } from '#built/dino/index.js';
import { CheckpointError, EngineError } from '#built/errors.js';
import { buildBackbone } from '#built/models/index.js';
import { rand, type Tensor, zeros } from 'dino-ts/torch';
import { inferArchitecture } from '#built/weights/architecture.js';
import { formatDescription } from '#built/cli/weights/describe.js';
import { describeWeights } from '#built/weights/describe.js';
import { loadModel } from '#built/model.js';
import { readSafetensors, writeSafetensors } from '#built/weights/safetensors.js';
import { writeTinyRun } from '#built/testing/saved-run.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-load-'));
const run = path.join(folder, 'run');
const checkpoint = path.join(run, 'checkpoints', 'step-00000012');
let network: MultiCropWrapper;
before(() => {
  network = writeTinyRun(run);
});
after(() => rmSync(folder, { recursive: true }));

/** A copy of the teacher's file with its tensors changed. */
function changed(name: string, change: (tensors: Map<string, Tensor>) => void): string {
  const { tensors } = readSafetensors(path.join(checkpoint, 'teacher.safetensors'));
  change(tensors);
  const file = path.join(folder, name);
  writeSafetensors(file, tensors);
  return file;
}

describe('loadModel', () => {
  it('loads a run that was written before some settings existed', () => {
    const older = path.join(folder, 'older');
    writeTinyRun(older).dispose();
    const file = path.join(older, 'config.json');
    const config = JSON.parse(readFileSync(file, 'utf8')) as { settings: Record<string, unknown> };
    delete config.settings['microBatchSize'];
    delete config.settings['activationCheckpointing'];
    writeFileSync(file, JSON.stringify(config));
    using model = loadModel(older);
    assert.equal(model.architecture.numHeads, 3);
    delete config.settings['patchSize'];
    writeFileSync(file, JSON.stringify(config));
    assert.throws(() => loadModel(older), /config\.json is damaged:[^]*patchSize/);
  });

  it('loads a run, a checkpoint and a lone file, to the same features as the network that was saved', () => {
    const lone = path.join(folder, 'lone.safetensors');
    copyFileSync(path.join(checkpoint, 'student.safetensors'), lone);
    const images = rand([2, 3, 32, 48]);
    const expected = network.backbone.forward(images).toArray();
    for (const [weights, options] of [
      [run, {}],
      [run, { checkpointKey: 'student' }],
      [checkpoint, {}],
      [path.join(checkpoint, 'teacher.safetensors'), {}],
      [lone, { numHeads: 3 }],
    ] as const) {
      const model = loadModel(weights, { device: 'cpu', ...options });
      assert.deepEqual(model.backbone.forward(images).toArray(), expected);
      assert.deepEqual(model.architecture, {
        arch: 'vit',
        embedDim: 24,
        depth: 3,
        numHeads: 3,
        patchSize: 8,
        imgSize: 32,
      });
      assert.ok([...model.backbone.parameters()].every((parameter) => !parameter.requiresGrad));
      model.dispose();
    }
  });

  it('takes a file of a checkpoint for the network that it is, and refuses the key of the other', () => {
    for (const [key, other] of [
      ['teacher', 'student'],
      ['student', 'teacher'],
    ] as const) {
      const file = path.join(checkpoint, `${key}.safetensors`);
      for (const options of [{}, { checkpointKey: key }]) {
        using model = loadModel(file, { device: 'cpu', ...options });
        assert.deepEqual([model.origin.checkpointKey, model.file], [key, file]);
      }
      const refusal = new RegExp(`is the ${key}'s weights; give the folder, or ${other}\\.safetensors`);
      for (const open of [loadModel, describeWeights])
        assert.throws(
          () => open(file, { checkpointKey: other }),
          (error) => error instanceof CheckpointError && refusal.test(error.message),
        );
      assert.throws(() => loadModel(file, { checkpointKey: 'both' }), /expected teacher or student/);
    }
  });

  it('knows the run of a checkpoint that is reached through a link, and follows no link inside of it', () => {
    const linked = path.join(folder, 'linked');
    mkdirSync(linked);
    const to = (name: string, target: string): string => {
      symlinkSync(target, path.join(linked, name));
      return path.join(linked, name);
    };
    for (const weights of [
      to('checkpoint', checkpoint),
      path.join(to('places', path.join(run, 'checkpoints')), 'step-00000012'),
      to('alone.safetensors', path.join(checkpoint, 'teacher.safetensors')),
      path.join(linked, 'checkpoint', 'teacher.safetensors'),
      to('again', path.join(linked, 'checkpoint')),
    ]) {
      const { run: found, headsAreGuess, architecture } = describeWeights(weights);
      assert.deepEqual([found?.step, headsAreGuess, architecture.numHeads], [12, false, 3], weights);
      using model = loadModel(weights, { device: 'cpu' });
      assert.deepEqual([model.origin.checkpointKey, model.origin.warnings], ['teacher', []]);
    }
    assert.throws(
      () => loadModel(path.join(linked, 'alone.safetensors'), { checkpointKey: 'student' }),
      /is the teacher's weights/,
    );
    // what is a link inside the run that it leads to is still refused
    const odd = path.join(folder, 'odd');
    writeTinyRun(odd).dispose();
    const inside = path.join(odd, 'checkpoints', 'step-00000012');
    rmSync(path.join(inside, 'teacher.safetensors'));
    symlinkSync(path.join(checkpoint, 'teacher.safetensors'), path.join(inside, 'teacher.safetensors'));
    assert.throws(() => loadModel(to('odd', inside)), /is a symbolic link/);
  });

  it('knows the architectures of the reference by their shapes', () => {
    for (const arch of ['vit_tiny', 'vit_small'] as const) {
      const state = buildBackbone({ arch, patchSize: 16 }).stateDict();
      const shapes = new Map([...state].map(([name, t]) => [name, t.shape]));
      const found = inferArchitecture(shapes, 'file');
      assert.equal(found.arch, arch);
      assert.equal(found.depth, 12);
      assert.equal(found.imgSize, 224);
      assert.equal(found.numHeads, arch === 'vit_tiny' ? 3 : 6);
    }
  });

  it('names every missing, extra and wrongly shaped tensor at once', () => {
    const file = changed('broken.safetensors', (tensors) => {
      tensors.delete('backbone.blocks.1.attn.proj.bias');
      tensors.delete('backbone.norm.weight');
      tensors.set('backbone.blocks.0.extra', zeros([1]));
      tensors.set('backbone.blocks.2.mlp.fc1.bias', zeros([7]));
    });
    assert.throws(
      () => loadModel(file, { device: 'cpu', numHeads: 3 }),
      (error) => {
        assert.ok(error instanceof CheckpointError);
        for (const text of [
          'missing: blocks.1.attn.proj.bias',
          'missing: norm.weight',
          'unexpected: blocks.0.extra',
          'shape of blocks.2.mlp.fc1.bias: expected [96], got [7]',
        ]) {
          assert.ok(error.message.includes(text), `${text} in ${error.message}`);
        }
        return true;
      },
    );
  });

  it('says what is wrong with what is no model', () => {
    const head = changed('head.safetensors', (tensors) => {
      for (const name of tensors.keys()) if (name.startsWith('backbone.')) tensors.delete(name);
    });
    assert.throws(() => loadModel(head), /does not hold a vision transformer .*pos_embed is missing/);
    assert.throws(() => loadModel(path.join(folder, 'absent')), /does not exist/);
    assert.throws(() => loadModel(run, { checkpointKey: 'both' }), /expected teacher or student/);
    assert.throws(() => loadModel(run, { device: 'cuda:99' }), EngineError);
    const empty = path.join(folder, 'empty');
    mkdirSync(empty);
    assert.throws(
      () => loadModel(empty),
      /neither a run folder .* a checkpoint folder .* nor a Hugging Face folder/,
    );
    writeFileSync(path.join(empty, 'config.json'), '{"settings": {}}');
    assert.throws(() => loadModel(empty), /without a checkpoint yet/);
    writeFileSync(path.join(empty, 'model.pth'), 'x');
    assert.throws(() => loadModel(path.join(empty, 'model.pth')), /not a PyTorch file.*\.safetensors/);
    writeFileSync(path.join(empty, 'torn.safetensors'), Buffer.alloc(100, 255));
    assert.throws(() => loadModel(path.join(empty, 'torn.safetensors')), /its header claims/);
  });
});

describe('describeWeights', () => {
  it('tells size, origin and the last metrics, past the half line of a killed process', () => {
    const description = describeWeights(run);
    assert.equal(description.run?.step, 12);
    assert.equal(description.run.imageCount, 40);
    assert.equal(description.run.lastMetrics?.['loss'], 2.5);
    assert.equal(description.outDim, 16);
    const count = [...network.backbone.parameters()].reduce((sum, parameter) => sum + parameter.numel, 0);
    assert.equal(description.backboneParameters, count);
    assert.match(formatDescription(description), /width 24, 3 blocks, 3 heads, patch 8, made for 32 x 32/);
  });
});
