import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { dinoStep, type MultiCropWrapper } from '../dino/index.js';
import { listImages } from '../data/index.js';
import { CheckpointError, ConfigError } from '../errors.js';
import { makeImageFolder } from '../testing/image-folder.js';
import { writeTinyRun } from '../testing/saved-run.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { hashCrops, hashState } from '../testing/training-state.js';
import { scope, type Tensor } from '../torch/index.js';
import { exportWeights } from '../weights/export-weights.js';
import { readSafetensors } from '../weights/safetensors.js';
import { listCheckpoints, newestCheckpoint } from '../run/checkpoint-files.js';
import type { TrainSettings } from '../run/settings.js';
import { settingsOfInit } from './init.js';
import { loadOfficialCheckpoint, settingsOfCheckpoint } from './official-checkpoint.js';
import { planTraining } from './plan.js';
import { type PresetName, resolveSettings } from './presets.js';
import { readLines } from '../files/json-lines.js';
import { readRunConfig } from '../run/run-folder.js';
import { train } from './train.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const official = path.join(root, 'test/fixtures/weights/official-full.pth');
interface Expected {
  settings: {
    batch: number;
    steps: number;
    stepsPerEpoch: number;
    globalCropsSize: number;
    localCropsSize: number;
    localCropsNumber: number;
    clipGrad: number;
    freezeLastLayer: number;
    normLastLayer: boolean;
  };
  lr: number[];
  weightDecay: number[];
  momentum: number[];
  teacherTemp: number[];
  losses: number[];
  student: Record<string, number[]>;
  center: number[];
  undetermined: string;
}
const expected = JSON.parse(
  readFileSync(path.join(root, 'test/fixtures/weights/official-full.json'), 'utf8'),
) as Expected;

let folder = '';
let images = '';
let network: MultiCropWrapper;
const at = (name: string): string => path.join(folder, name);
before(async () => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'dino-init-'));
  images = at('images');
  await makeImageFolder(images, { classes: 2, perClass: 9 });
  network = writeTinyRun(at('source'));
  exportWeights(at('source'), { format: 'pth', output: at('backbone.pth') });
  exportWeights(at('source'), { format: 'pth', output: at('whole.pth'), withHead: true });
});
after(() => rmSync(folder, { recursive: true, force: true }));

/** A training that changes no weight: what it ends with is what it began with. */
const STILL: TrainSettings = {
  ...TINY_SETTINGS,
  ...{ lr: 0, minLr: 0, weightDecay: 0, weightDecayEnd: 0, epochs: 1, warmupEpochs: 0 },
  ...{ dropPathRate: 0, useBnInHead: false, warmupTeacherTempEpochs: 0 },
};
const tensorsOf = (run: string, file: string): Map<string, Tensor> =>
  readSafetensors(path.join(newestCheckpoint(run) ?? assert.fail('no checkpoint'), file)).tensors;

describe('--init', () => {
  for (const [file, withHead] of [
    ['backbone.pth', false],
    ['whole.pth', true],
  ] as const) {
    it(`starts student and teacher from ${file}`, async () => {
      const init = { init: at(file), numHeads: 3 };
      const settled = settingsOfInit(init);
      assert.deepEqual(
        [settled.arch, settled.embedDim, settled.depth, settled.patchSize, settled.imgSize],
        ['vit', 24, 3, 8, 32],
      );
      assert.equal(settled.outDim, withHead ? 16 : undefined);
      if (withHead)
        assert.deepEqual(
          [settled.headHiddenDim, settled.headBottleneckDim, settled.headNlayers, settled.useBnInHead],
          [32, 8, 3, false],
        );
      // other crops than the weights were made for: the grid stays
      const settings = { ...STILL, ...settled, ...init, globalCropsSize: 24 };
      const run = at(`run-${file}`);
      await train({ images, output: run, settings });
      for (const which of ['student.safetensors', 'teacher.safetensors']) {
        const tensors = tensorsOf(run, which);
        for (const [name, tensor] of network.stateDict()) {
          if (!withHead && name.startsWith('head.')) continue;
          assert.deepEqual(tensors.get(name)?.toArray(), tensor.toArray(), `${which} ${name}`);
        }
      }
      assert.equal(readRunConfig(run).settings.init, at(file));
    });
  }

  it('trains the head alone for as long as it is told to, then the backbone too', async () => {
    const init = { init: at('backbone.pth'), numHeads: 3 };
    const settings = {
      ...STILL,
      ...settingsOfInit(init),
      ...init,
      ...{ lr: 0.02, minLr: 0.001, epochs: 2, freezeBackbone: 1, saveckpFreq: 1, freezeLastLayer: 0 },
    };
    const run = at('head-first');
    await train({ images, output: run, settings });
    const [first, last] = listCheckpoints(run).map(
      ({ folder: checkpoint }) => readSafetensors(path.join(checkpoint, 'student.safetensors')).tensors,
    );
    const isSame = (name: string, tensors = first): boolean =>
      JSON.stringify(tensors?.get(name)?.toArray()) ===
      JSON.stringify(network.stateDict().get(name)?.toArray());
    const ofBackbone = [...network.stateDict().keys()].filter((name) => name.startsWith('backbone.'));
    assert.ok(ofBackbone.length > 10);
    assert.deepEqual(
      ofBackbone.filter((name) => !isSame(name)),
      [],
    );
    assert.equal(isSame('backbone.blocks.0.attn.qkv.weight', last), false);
    const head = 'head.mlp.0.weight';
    assert.notDeepEqual(first?.get(head)?.toArray(), last?.get(head)?.toArray());
  });

  it('takes a whole set of settings without the grid, and resumes without the weights', async () => {
    const copy = at('copy.pth');
    copyFileSync(at('backbone.pth'), copy);
    const sizes = { arch: 'vit', embedDim: 24, depth: 3, numHeads: 3, patchSize: 8 } as const;
    const settings = { ...STILL, ...sizes, globalCropsSize: 24, epochs: 2, init: copy };
    const controller = new AbortController();
    const run = at('resumed');
    const stop = (): void => controller.abort();
    await train({
      images,
      output: run,
      settings,
      signal: controller.signal,
      onEvent: ({ type }) => type === 'step' && stop(),
    });
    assert.equal(readRunConfig(run).settings.imgSize, 32);
    rmSync(copy);
    const result = await train({ output: run, resume: true });
    assert.equal(result.interrupted, false);
    assert.deepEqual(tensorsOf(run, 'teacher.safetensors').get('backbone.pos_embed')?.shape, [1, 17, 24]);
  });

  it('refuses what the weights contradict, and a head of another size', async () => {
    const facts = { images: 18, width: 40, height: 40, cores: 2, memoryGiB: 4, device: 'cpu' } as const;
    const weights = settingsOfInit({ init: at('whole.pth'), numHeads: 3 });
    assert.throws(
      () =>
        resolveSettings({
          preset: 'paper',
          facts,
          weights,
          flags: { arch: 'vit_base', outDim: '64', patchSize: 8 },
        }),
      (error) => {
        assert.ok(error instanceof ConfigError);
        assert.deepEqual(error.problems, [
          '--arch is vit_base, but the weights have vit: leave out --arch to train these, or give weights of a vit_base',
          '--out-dim is 64, but the weights have 16: --init-with-head false takes only the backbone, and the head is new',
        ]);
        return true;
      },
    );
    const { settings } = resolveSettings({ preset: 'paper', facts, weights, flags: { numHeads: 3 } });
    assert.deepEqual([settings.outDim, settings.imgSize], [16, 32]);
    const wrong = {
      ...STILL,
      ...settingsOfInit({ init: at('backbone.pth'), numHeads: 3 }),
      init: at('whole.pth'),
    };
    await assert.rejects(train({ images, output: at('wrong'), settings: wrong }), (error) => {
      assert.ok(error instanceof CheckpointError);
      assert.match(
        error.message,
        /--init-with-head false[^]*shape of head\.last_layer\.weight_v: expected \[64, 16\]/,
      );
      return true;
    });
    const alone = { ...wrong, initWithHead: false };
    const result = await train({ images, output: at('alone'), settings: alone });
    assert.equal(result.interrupted, false);
  });

  it('takes a head without prototypes, or begins with a new one for a loss that has them', async () => {
    const source = at('simdino');
    const sizes = { headHiddenDim: 48, headBottleneckDim: 12, headNlayers: 4, outDim: 12 };
    await train({ images, output: source, settings: { ...STILL, ...sizes, loss: 'simdino' } });
    const head = [...tensorsOf(source, 'teacher.safetensors')].filter(([name]) => name.startsWith('head.'));
    assert.ok(head.length > 0);
    const list = await listImages(images);
    const planned = async (flags: object, preset: PresetName = 'auto') => {
      const warnings: string[] = [];
      const { settings } = await planTraining(list, {
        sources: {
          flags: { init: source, device: 'cpu', epochs: 1, batchSize: 3, precision: 'fp32', ...flags },
        },
        ...{ preset, measures: false, onWarning: (message: string) => warnings.push(message) },
      });
      return { settings, warnings: warnings.filter((line) => /head/.test(line)) };
    };
    const own = await planned({});
    const { loss, outDim, headHiddenDim, headBottleneckDim, headNlayers } = own.settings;
    assert.deepEqual(
      { loss, outDim, headHiddenDim, headBottleneckDim, headNlayers },
      { loss: 'simdino', ...sizes },
    );
    assert.deepEqual(own.warnings, []);
    const still = { lr: 0, minLr: 0, weightDecay: 0, weightDecayEnd: 0, dropPathRate: 0, numWorkers: 0 };
    await train({ images, output: at('of-simdino'), settings: { ...own.settings, ...still } });
    const trained = tensorsOf(at('of-simdino'), 'teacher.safetensors');
    for (const [name, tensor] of head) assert.deepEqual(trained.get(name)?.toArray(), tensor.toArray(), name);
    for (const [flags, preset] of [
      [{ loss: 'dino' }, 'auto'],
      [{ epochs: 30 }, 'paper'],
    ] as const) {
      const { settings, warnings } = await planned(flags, preset);
      assert.deepEqual([settings.loss, settings.initWithHead], ['dino', false], preset);
      assert.match(
        warnings.join(),
        /trained with the loss simdino and doesn't fit dino: only the backbone is taken/,
      );
    }
    await assert.rejects(
      planned({ headHiddenDim: 64 }),
      /the weights have 48: --init-with-head false takes only/,
    );
  });

  it('leaves no run behind when the weights do not fit', async () => {
    const run = at('unfit');
    const unfit = { ...STILL, init: at('whole.pth'), embedDim: 24, depth: 3, numHeads: 3, headHiddenDim: 99 };
    await assert.rejects(train({ images, output: run, settings: unfit }), /doesn't fit the settings/);
    const fit = { ...unfit, initWithHead: false };
    const { interrupted } = await train({ images, output: run, settings: fit });
    assert.equal(interrupted, false, 'the same folder takes a run that fits');
  });
});

describe('--resume with a full checkpoint of the reference', () => {
  it("has the checkpoint's settings", () => {
    const settings = settingsOfCheckpoint(official);
    assert.deepEqual(
      [settings.arch, settings.embedDim, settings.depth, settings.patchSize, settings.imgSize],
      ['vit', 12, 1, 4, 16],
    );
    assert.deepEqual([settings.outDim, settings.headHiddenDim, settings.headBottleneckDim], [16, 16, 8]);
    assert.deepEqual(
      [settings.batchSize, settings.epochs, settings.lr, settings.precision],
      [3, 3, 0.256, 'fp32'],
    );
    assert.deepEqual(settings.localCropsScale, [0.05, 0.4]);
    assert.equal(settings.numWorkers, undefined);
  });

  it('takes the steps that the reference took next', () => {
    const { settings: s } = expected;
    const model = { embedDim: 12, depth: 1, numHeads: 1, patchSize: 4, imgSize: 16 };
    const head = { outDim: 16, hiddenDim: 16, bottleneckDim: 8, nlayers: 3 };
    const state = hashState({ model, head, weightStd: 1, ...s });
    assert.equal(loadOfficialCheckpoint(official, state), 1);
    for (let step = s.stepsPerEpoch; step < s.steps; step++) {
      const epoch = Math.floor(step / s.stepsPerEpoch);
      const result = scope(() =>
        dinoStep(state, hashCrops(step, s), {
          ...{
            epoch,
            clipGrad: s.clipGrad,
            freezeLastLayer: s.freezeLastLayer,
            precision: 'fp32',
            measure: false,
          },
          ...{ microBatchSize: 0, activationCheckpointing: false },
          lr: expected.lr[step] as number,
          weightDecay: expected.weightDecay[step] as number,
          momentum: expected.momentum[step] as number,
          teacherTemp: expected.teacherTemp[epoch] as number,
        }),
      );
      const loss = expected.losses[step] as number;
      assert.ok(
        Math.abs(result.loss - loss) <= 1e-5 * loss,
        `step ${step}: loss ${result.loss}, not ${loss}`,
      );
    }
    const close = (name: string, actual: readonly number[], values: readonly number[]): void => {
      for (const [i, value] of values.entries())
        assert.ok(
          Math.abs((actual[i] as number) - value) <= 1e-5,
          `${name}[${i}]: ${actual[i]}, not ${value}`,
        );
    };
    close('center', state.loss.center.toArray(), expected.center);
    for (const [name, tensor] of state.student.stateDict()) {
      if (name === expected.undetermined) continue;
      const sampled = tensor.toArray().filter((_, i) => i % 7 === 0);
      close(name, sampled, expected.student[name] ?? assert.fail(name));
    }
  });

  it('goes on with the next epoch in a run folder of its own', () => {
    const cli = (...args: string[]) =>
      spawnSync(process.execPath, [path.join(root, 'bin/dino.js'), 'train', ...args], { encoding: 'utf8' });
    const run = at('went-on');
    const small = [
      '--global-crops-size',
      '16',
      '--local-crops-size',
      '8',
      '--num-workers',
      '1',
      '--device',
      'cpu',
    ];
    const done = cli(images, '--output', run, '--resume', official, ...small, '--lr', '0.001', '--json');
    assert.equal(done.status, 0, done.stderr);
    assert.match(done.stderr, /official-full\.pth: vit, patches of 4 pixels, a head of 16/);
    // 18 images in batches of 3: the first epoch's 6 steps were the checkpoint's
    const steps = readLines(path.join(run, 'metrics.jsonl')).map(({ step, epoch }) => [step, epoch]);
    assert.deepEqual(steps.at(-1), [18, 2]);
    assert.ok(steps.every(([step]) => (step as number) > 6));
    assert.ok(existsSync(path.join(run, 'checkpoints/step-00000018')));
    const none = cli(
      images,
      '--output',
      at('none'),
      '--resume',
      official,
      ...small,
      '--epochs',
      '1',
      '--warmup-teacher-temp-epochs',
      '0',
    );
    assert.equal(none.status, 2, none.stderr);
    assert.match(none.stderr, /was saved after epoch 1: --epochs 1 leaves none/);
  });

  it('says what is missing or does not fit', () => {
    assert.throws(
      () => settingsOfCheckpoint(at('whole.pth')),
      /not a full checkpoint of the reference: it has no student, teacher/,
    );
    const { settings: s } = expected;
    const model = { embedDim: 12, depth: 1, numHeads: 1, patchSize: 4, imgSize: 16 };
    const head = { outDim: 16, hiddenDim: 16, bottleneckDim: 8, nlayers: 3 };
    const free = hashState({ model, head, weightStd: 1, ...s, normLastLayer: false });
    assert.throws(
      () => loadOfficialCheckpoint(official, free),
      /optimizer: expected groups of .* --norm-last-layer/,
    );
    const wide = hashState({ model: { ...model, embedDim: 24 }, head, weightStd: 1, ...s });
    assert.throws(
      () => loadOfficialCheckpoint(official, wide),
      /official-full\.pth: .*shape of backbone\.cls_token/s,
    );
    writeFileSync(at('broken.pth'), readFileSync(official).subarray(0, 50_000));
    assert.throws(() => settingsOfCheckpoint(at('broken.pth')), CheckpointError);
  });
});
