import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ConfigError } from '../errors.js';
import { checkSettings, readOverrides } from './config.js';
import { decodedCacheBytes, flagOf, SETTING_NAMES, settingOf } from '../run/settings.js';
import { editDistance, nearestName } from '../plain/did-you-mean.js';
import { PAPER, resolveSettings, type TrainFacts } from './presets.js';

const cpu: TrainFacts = { device: 'cpu', cores: 2, memoryGiB: 16, images: 4000, width: 64, height: 64 };

function problemsOf(run: () => unknown): readonly string[] {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.problems;
  }
  assert.fail('nothing was refused');
}

describe('numWorkers', () => {
  it('is a number or auto', () => {
    assert.deepEqual(readOverrides({ flags: { numWorkers: '3' } }), { numWorkers: 3 });
    assert.deepEqual(readOverrides({ file: { num_workers: 'auto' } }), { numWorkers: 'auto' });
    for (const [value, expected] of [
      ['"many"', 'a whole number, 0 or more, or auto'],
      ['-1', 'at least 0'],
      ['1.5', 'a whole number, 0 or more, or auto'],
    ] as const)
      assert.deepEqual(
        problemsOf(() => readOverrides({ flags: { numWorkers: value.replaceAll('"', '') } })),
        [`--num-workers is ${value}; expected ${expected}`],
      );
  });
});

describe('decodedCache', () => {
  it('is a size with a unit, or 0; for anything else the error says what is allowed', () => {
    for (const text of ['2GiB', '500MB', '1048576', '0'])
      assert.deepEqual(readOverrides({ flags: { decodedCache: text } }), { decodedCache: text });
    assert.equal(decodedCacheBytes({ decodedCache: '1.5 GiB' }), 1.5 * 2 ** 30);
    assert.equal(decodedCacheBytes({}), 0);
    for (const text of ['much', '-1GiB', '2GiBs', '4'])
      assert.deepEqual(
        problemsOf(() => readOverrides({ flags: { decodedCache: text } })),
        [`--decoded-cache is "${text}"; expected a size of at least 1MiB, as 500MB or 2GiB, or 0 for none`],
      );
  });
});

describe('names', () => {
  it('accepts every spelling of a setting, and the names of the reference', () => {
    for (const name of SETTING_NAMES) assert.equal(settingOf(flagOf(name)), name);
    assert.equal(settingOf('--out_dim'), 'outDim');
    assert.equal(settingOf('warmup-teacher-temp'), 'warmupTeacherTemp');
    assert.equal(settingOf('--batch_size_per_gpu'), 'batchSize');
    assert.equal(settingOf('--constructor'), null);
    assert.equal(settingOf('nope'), null);
  });

  it('measures edits with swaps, and finds nothing when no name is close', () => {
    assert.equal(editDistance('kitten', 'sitting'), 3);
    assert.equal(editDistance('epcohs', 'epochs'), 1);
    assert.equal(editDistance('', 'abc'), 3);
    assert.equal(nearestName('epcohs', SETTING_NAMES), 'epochs');
    assert.equal(nearestName('batch', SETTING_NAMES), 'batchSize');
    assert.equal(nearestName('xylophone', SETTING_NAMES), null);
  });
});

describe('what is refused', () => {
  it('reports unknown names, types and bounds of file and flags all at once', () => {
    const problems = problemsOf(() =>
      readOverrides({
        file: { out_dimm: 10, lr: -1, epochs: 2.5, seed: null, arch: 'vit_huge' },
        fileName: 'my.json',
        flags: { epcohs: '3', outDim: '0', clipGrad: 'NaN', batchSize: 'many', normLastLayer: 'maybe' },
        problems: ['unknown flag --colour'],
      }),
    );
    const text = problems.join('\n');
    assert.equal(problems.length, 11);
    assert.match(text, /unknown flag --colour/);
    assert.match(text, /my\.json: unknown setting out_dimm \(did you mean outDim\?\)/);
    assert.match(text, /my\.json: lr is -1; expected at least 0/);
    assert.match(text, /my\.json: epochs is 2\.5; expected a whole number/);
    assert.match(text, /my\.json: seed is null; expected a/);
    assert.match(text, /my\.json: arch is "vit_huge"; expected one of vit_tiny, vit_small/);
    assert.match(text, /unknown flag --epcohs \(did you mean --epochs\?\)/);
    assert.match(text, /--out-dim is 0; expected at least 2/);
    assert.match(text, /--clip-grad is "NaN"; expected a number/);
    assert.match(text, /--batch-size is "many"; expected a number/);
    assert.match(text, /--norm-last-layer is "maybe"; expected true or false/);
  });

  it('refuses NaN and infinity however they are given', () => {
    assert.equal(problemsOf(() => readOverrides({ file: { lr: NaN, weightDecay: Infinity } })).length, 2);
    assert.equal(problemsOf(() => readOverrides({ flags: { lr: 'Infinity', minLr: '' } })).length, 2);
  });

  it('refuses a file that is not one object', () => {
    for (const file of [[], 3, null, 'text']) {
      assert.match(problemsOf(() => readOverrides({ file }))[0]!, /expected one JSON object/);
    }
  });

  it('checks crops against patches', () => {
    const together = (flags: Record<string, unknown>) =>
      problemsOf(() => readOverrides({ flags })).join('\n');
    assert.match(
      together({ patchSize: 16, localCropsSize: 8 }),
      /localCropsSize 8 is smaller than patchSize 16/,
    );
    assert.match(together({ patchSize: 16, globalCropsSize: 100 }), /the last 4 pixels .* choose 96 or 112/);
    assert.match(together({ patchSize: 16, imgSize: 100 }), /imgSize 100 is not a multiple of patchSize 16/);
    // without local crops their size does not matter
    assert.deepEqual(readOverrides({ flags: { patchSize: 16, localCropsSize: 8, localCropsNumber: 0 } }), {
      patchSize: 16,
      localCropsSize: 8,
      localCropsNumber: 0,
    });
  });

  it('checks scales, warm-ups, custom sizes, fp16 and k-NN', () => {
    const problems = problemsOf(() =>
      readOverrides({
        flags: {
          globalCropsScale: '1 0.4',
          epochs: 3,
          warmupEpochs: 10,
          warmupTeacherTempEpochs: 4,
          arch: 'vit',
          embedDim: 100,
          numHeads: 3,
          precision: 'fp16',
          device: 'cpu',
          knnEvery: 1,
          knnTrain: 'a',
        },
      }),
    );
    const text = problems.join('\n');
    assert.equal(problems.length, 6, text);
    assert.match(text, /globalCropsScale 1 0\.4: expected the smaller number first/);
    assert.match(text, /warmupEpochs 10 is more than epochs 3/);
    assert.match(text, /warmupTeacherTempEpochs 4 is more than epochs 3/);
    // auto fills in the depth, paper does not
    const sizes = { preset: 'paper', flags: { arch: 'vit', embedDim: 96, numHeads: 3 } } as const;
    assert.match(problemsOf(() => resolveSettings(sizes)).join(), /depth \(--depth\) missing/);
    assert.match(text, /embedDim 100 can't be divided among numHeads 3/);
    assert.match(text, /fp16 needs a CUDA device/);
    assert.match(text, /--knn-val missing/);
    assert.match(problemsOf(() => readOverrides({ flags: { localCropsScale: '0 0.4' } }))[0]!, /more than 0/);
    assert.match(
      problemsOf(() => readOverrides({ flags: { localCropsScale: '0.4' } }))[0]!,
      /expected at least 2 entries|list/,
    );
    assert.match(problemsOf(() => readOverrides({ flags: { device: 'gpu' } }))[0]!, /cuda:N/);
    assert.deepEqual(
      problemsOf(() => readOverrides({ file: { watchImages: [] } })),
      ['config file: watchImages is []; expected at least 1 entry'],
    );
  });

  it('names every missing key of a saved set', () => {
    const { lr, epochs, ...rest } = PAPER;
    assert.ok(lr && epochs);
    const problems = problemsOf(() => checkSettings({ ...rest, outdim: 3 }, 'config.json'));
    assert.deepEqual(problems, [
      'config.json: unknown setting outdim (did you mean outDim?)',
      'config.json: epochs is missing',
      'config.json: lr is missing',
    ]);
  });
});

describe('layers of settings', () => {
  it('flags override the file, and the file overrides the preset', () => {
    const { settings } = resolveSettings({
      preset: 'paper',
      file: { epochs: 50, out_dim: 1024, warmup_epochs: 5 },
      flags: { 'out-dim': '2048', 'global-crops-scale': ['0.14', '1.'], norm_last_layer: 'false' },
      facts: { ...cpu, device: 'cuda' },
    });
    assert.equal(settings.epochs, 50);
    assert.equal(settings.outDim, 2048);
    assert.equal(settings.warmupEpochs, 5);
    assert.deepEqual(settings.globalCropsScale, [0.14, 1]);
    assert.equal(settings.normLastLayer, false);
    assert.equal(settings.precision, 'fp16');
    assert.equal(settings.momentumTeacher, 0.996);
  });

  it('survives a round trip through JSON', () => {
    const { settings } = resolveSettings({ facts: cpu });
    assert.deepEqual(checkSettings(JSON.parse(JSON.stringify(settings))), settings);
  });
});

describe('auto', () => {
  const auto = (facts: Partial<TrainFacts>, flags: Record<string, unknown> = {}) =>
    resolveSettings({ facts: { ...cpu, ...facts }, flags });

  it('divides the batch of a CPU among its processes, and gives each GPU a full one', () => {
    const names = ['batchSize', 'epochs', 'momentumTeacher', 'lr'] as const;
    const chosen = (facts: Partial<TrainFacts>) => names.map((name) => auto(facts).settings[name]);
    const [batch, ...rest] = chosen({ cores: 8 });
    assert.deepEqual(chosen({ cores: 8, processes: 4 }), [(batch as number) / 4, ...rest]);
    assert.equal(auto({ device: 'cuda', images: 1e6, processes: 8 }).settings.batchSize, 64);
  });

  it('gives the known settings for 4,000 scenes of 64 x 64 on two cores, with reasons', () => {
    const { settings: s, choices } = auto({});
    assert.deepEqual([s.arch, s.embedDim, s.depth, s.numHeads], ['resnet', 256, 4, undefined]);
    assert.deepEqual([s.globalCropsSize, s.localCropsSize, s.localCropsNumber, s.imgSize], [24, 12, 2, 32]);
    assert.deepEqual([s.loss, s.outDim, s.headHiddenDim, s.headBottleneckDim], ['simdino', 128, 512, 128]);
    assert.deepEqual([s.optimizer, s.batchSize, s.momentumTeacher], ['muon', 32, 0.97]);
    for (const choice of choices) {
      assert.ok(choice.reason.length > 5, choice.name);
      assert.deepEqual(s[choice.name], choice.value);
    }
    const crops = choices.find(({ name }) => name === 'globalCropsSize');
    assert.match(crops?.reason ?? '', /^small crops/, "the recipe's own reason");
  });

  it('gives a transformer its own settings', () => {
    const { settings: s } = auto({}, { arch: 'vit' });
    assert.deepEqual([s.arch, s.embedDim, s.depth, s.numHeads, s.patchSize], ['vit', 128, 4, 2, 8]);
    assert.deepEqual([s.globalCropsSize, s.localCropsSize, s.localCropsNumber], [64, 32, 4]);
    assert.deepEqual([s.outDim, s.headHiddenDim, s.headBottleneckDim, s.batchSize], [256, 512, 128, 32]);
    assert.equal(s.teacherTemp, 0.02);
    assert.deepEqual([s.epochs, s.warmupEpochs, s.momentumTeacher], [6, 1, 0.99]);
    assert.equal((s.lr * s.batchSize) / 256, 0.0005);
  });

  it("gives the paper's values on a GPU with many images", () => {
    const { settings } = auto({
      device: 'cuda',
      images: 1_281_167,
      width: 500,
      height: 375,
      memoryGiB: 80,
      cores: 16,
    });
    const chosen = { numWorkers: 'auto', precision: 'auto', watchImages: ['auto'] };
    assert.deepEqual(settings, { ...PAPER, ...chosen });
  });

  it('keeps decoded images where all of them fit, and where they come again', () => {
    const cache = (facts: Partial<TrainFacts>, flags: Record<string, unknown> = {}) =>
      auto({ images: 2000, width: 224, height: 224, memoryGiB: 16, ...facts }, flags).settings.decodedCache;
    assert.equal(cache({}), '375MiB');
    assert.equal(cache({ images: 12_000 }), undefined, 'more than an eighth of 16 GiB');
    assert.equal(cache({ processes: 8 }), undefined, 'each has a cache of its own');
    assert.equal(cache({}, { epochs: '1' }), undefined);
    assert.equal(cache({}, { steps: '124' }), '375MiB');
    assert.equal(cache({}, { decodedCache: '0' }), '0');
    assert.equal(cache({ images: 40, width: 32, height: 32 }), '1MiB');
    assert.equal(cache({}, { channels: '4' }), '767MiB', 'two bytes a value');
  });

  it('works for any number and size of images, on any machine', () => {
    let tried = 0;
    for (const device of ['cpu', 'cuda', 'mps'] as const) {
      for (const images of [1, 2, 3, 31, 40, 64, 500, 2000, 10_000, 60_000, 100_000, 2_000_000]) {
        for (const side of [1, 8, 28, 32, 48, 64, 100, 224, 500, 6000]) {
          for (const cores of [1, 2, 8, 64]) {
            const { settings: s } = auto({ device, images, cores, width: side, height: side });
            assert.ok(s.batchSize <= images, `${images}: batch ${s.batchSize}`);
            assert.equal(s.globalCropsSize % s.patchSize, 0);
            assert.equal(s.localCropsSize % s.patchSize, 0);
            assert.ok(s.localCropsSize < s.globalCropsSize);
            assert.ok(s.momentumTeacher >= 0.97 && s.momentumTeacher <= 0.996);
            tried++;
          }
        }
      }
    }
    assert.equal(tried, 3 * 12 * 10 * 4);
  });

  it('is careful with trained weights of a transformer; a ResNet trains on as a new one does', () => {
    const careful = ['freezeBackbone', 'backboneWarmupEpochs', 'layerwiseDecay', 'patchEmbedLrMult'] as const;
    const chosen = (flags: Record<string, unknown>) => {
      const { settings } = auto({}, flags);
      return { lr: settings.lr, care: careful.map((name) => settings[name]) };
    };
    const [fresh, trained] = [chosen({ arch: 'vit' }), chosen({ arch: 'vit', init: 'weights.pth' })];
    assert.equal(trained.lr, fresh.lr / 10);
    assert.deepEqual(fresh.care, [0, 0, 1, 1]);
    assert.deepEqual(trained.care, [0.6, 1.2, 0.9, 0.2]);
    assert.deepEqual(chosen({ init: 'run' }), chosen({}));
  });

  it('has trained weights judged, however the length is given; of too few images it says that nothing can be', () => {
    for (const length of [{}, { epochs: '12' }, { steps: '750' }, { for: '100s' }]) {
      const { settings, warnings } = auto({}, { ...length, init: 'weights.pth', arch: 'vit' });
      const epochs = settings.steps === undefined ? settings.epochs : settings.steps / (4000 / 32);
      assert.ok(Math.abs(settings.judgeEvery - epochs / 6) < 0.01, JSON.stringify(length));
      assert.deepEqual(warnings, []);
      assert.equal(auto({}, { ...length, init: 'weights.pth', judgeEvery: '0' }).settings.judgeEvery, 0);
    }
    assert.equal(auto({}, { steps: '750' }).settings.judgeEvery, 0, 'new weights are not');
    const few = auto({ images: 40 }, { init: 'weights.pth', steps: '100' });
    assert.equal(few.settings.judgeEvery, 0);
    assert.match(few.warnings.join(), /40 images are fewer than the 64 that the judge needs/);
    assert.deepEqual(auto({ images: 40 }, { steps: '100' }).warnings, []);
    const timed = auto({ images: 40 }, { for: '10m' }).warnings.join();
    assert.match(
      timed,
      /^40 images are fewer than the 64 that the judge needs: nothing will tell how good the features are/,
    );
    assert.deepEqual(auto({ images: 64 }, { for: '10m' }).warnings, []);
  });

  it('adapts the other choices to what the user gave', () => {
    const { settings: s, choices } = auto(
      {},
      { batchSize: '64', epochs: '1', patchSize: '10', arch: 'vit_small' },
    );
    assert.equal(s.batchSize, 64);
    assert.equal(s.lr, 0.004);
    assert.ok(s.warmupEpochs <= 1);
    assert.equal(s.freezeLastLayer, 0);
    assert.equal(s.globalCropsSize % 10, 0);
    assert.equal(s.localCropsSize % 10, 0);
    assert.equal(s.embedDim, undefined);
    assert.equal(s.headHiddenDim, 1536);
    assert.ok(!choices.some((choice) => ['batchSize', 'epochs', 'patchSize', 'arch'].includes(choice.name)));
    const odd = auto({}, { globalCropsSize: '70' }).settings;
    assert.equal(70 % odd.patchSize, 0);
    assert.equal(odd.localCropsSize % odd.patchSize, 0);
  });
});
