/** Training of DINOv2's networks, from initial weights and from given ones. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, it } from 'node:test';
import { ConfigError } from '../errors.js';
import { loadModel } from '../model.js';
import { buildBackbone } from '../models/index.js';
import { readRunConfig } from '../run/run-folder.js';
import { hashFill } from '../testing/hash-fill.js';
import { writeColourFolders } from '../testing/saved-run.js';
import { setNumThreads } from '../torch/index.js';
import { exportWeights } from '../weights/export-weights.js';
import { writePth } from '../weights/pth-write.js';
import { settingsOfInit } from './init.js';
import { resolveSettings } from './presets.js';
import { train } from './train.js';

setNumThreads(1);
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-train-dinov2-'));
const at = (name: string): string => path.join(folder, name);
const images = at('images');
before(() => writeColourFolders(images, 3));
after(() => rmSync(folder, { recursive: true }));

const SMALL = { embedDim: 32, depth: 2, numHeads: 2, patchSize: 14, imgSize: 70 };
const FLAGS = {
  ...{ epochs: '1', batchSize: '3', outDim: '16', headHiddenDim: '16', headBottleneckDim: '8', warmupEpochs: '0' },
  ...{ globalCropsSize: '56', localCropsSize: '28', localCropsNumber: '2', warmupTeacherTempEpochs: '0' },
  ...{ precision: 'fp32', device: 'cpu', numWorkers: '1', threads: '1', watchImages: 'none' },
}; // prettier-ignore

for (const arch of ['dinov2_vit', 'dinov2_vit_swiglu_reg'] as const)
  it(`${arch} trains from weights of its own form, keeps their positions, and resumes to the same bits`, async () => {
    const init = at(`${arch}.pth`);
    const network = hashFill(buildBackbone({ arch, ...SMALL }), 0.04);
    writePth(init, network.stateDict());
    network.dispose();
    const weights = settingsOfInit({ init, numHeads: 2 });
    const { settings } = resolveSettings({ preset: 'paper', weights, flags: { ...FLAGS, init } });
    const [whole, parted] = [at(`${arch}-whole`), at(`${arch}-parted`)];
    const first = await train({ images, output: whole, settings });
    const stop = new AbortController();
    await train({
      ...{ images, output: parted, settings, signal: stop.signal },
      onEvent: (event) => event.type === 'step' && event.step === 1 && stop.abort(),
    });
    const second = await train({ output: parted, resume: true });
    for (const key of ['student', 'teacher', 'optimizer']) {
      const [a, b] = [first, second].map(({ checkpoint }) =>
        readFileSync(path.join(checkpoint, `${key}.safetensors`)),
      );
      assert.ok(a!.equals(b!), `${key} differs`);
    }
    assert.equal(readRunConfig(whole).settings.imgSize, 70);
    using trained = loadModel(whole, { device: 'cpu' });
    using start = loadModel(init, { device: 'cpu', numHeads: 2 });
    // as for the crops that it was trained on; its positions are those that it came with
    const { architecture } = trained;
    assert.deepEqual([architecture.arch, architecture.imgSize, architecture.positionsSize], [arch, 56, 70]);
    const [before, then] = [start, trained].map(({ backbone }) => backbone.stateDict());
    const isSame = (name: string): boolean => then!.get(name)!.equal(before!.get(name)!);
    assert.ok(isSame('mask_token'));
    for (const name of [
      'blocks.1.ls2.gamma',
      'cls_token',
      ...(arch.endsWith('_reg') ? ['register_tokens'] : []),
    ])
      assert.ok(!isSame(name), `${name} did not learn`);
    // and the run's weights leave in the original's form
    exportWeights(whole, { format: 'pth', output: at('out.pth'), imageSize: 56 });
    using out = loadModel(at('out.pth'), { device: 'cpu' });
    assert.deepEqual(out.architecture.positionsSize, 56);
  });

it('an architecture that the weights do not have is refused by both names, and what to do', () => {
  const init = at('dinov2_vit.pth');
  const weights = settingsOfInit({ init, numHeads: 2 });
  assert.throws(
    () => resolveSettings({ preset: 'paper', weights, flags: { ...FLAGS, init, arch: 'vit_small' } }),
    /--arch is vit_small, but the weights have dinov2_vit: leave out --arch.*or give weights of a vit_small/,
  );
});

it('crops are whole patches: the defaults are, others are refused', () => {
  const facts = { images: 500, width: 300, height: 300, cores: 2, memoryGiB: 8, device: 'cpu' } as const;
  const arch = 'dinov2_vits14_reg';
  const paper = resolveSettings({ preset: 'paper', flags: { arch } });
  assert.deepEqual([paper.settings.globalCropsSize, paper.settings.localCropsSize], [224, 98]);
  assert.ok(paper.choices.some(({ reason }) => /the paper's 96, in whole patches of 14/.test(reason)));
  const auto = resolveSettings({ preset: 'auto', facts, flags: { arch } }).settings;
  assert.deepEqual([auto.globalCropsSize % 14, auto.localCropsSize % 14], [0, 0]);
  assert.equal(auto.headHiddenDim, 4 * 384);
  assert.throws(
    () => resolveSettings({ preset: 'paper', flags: { arch, globalCropsSize: '230' } }),
    (error) =>
      error instanceof ConfigError &&
      /globalCropsSize 230 is not a multiple.*choose 224 or 238/.test(error.message),
  );
});
