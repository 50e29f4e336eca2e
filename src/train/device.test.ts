/**
 * Everything that puts tensors on a device, on one without hardware (native/guarded) whose memory the CPU can't touch: a tensor
 * that was left behind, an operator of the CPU that is given a device's address, or a generator that isn't restored fails here
 * as it would on a GPU. CUDA's kernels, streams and NCCL are not shown by it: `npm run test:cuda` runs the same on a GPU.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { embed } from '../eval/embed.js';
import { evaluateKnn } from '../eval/knn.js';
import { evaluateQuality } from '../eval/quality.js';
import { readLines } from '../files/json-lines.js';
import { loadModel } from '../model.js';
import type { TrainSettings } from '../run/settings.js';
import { makeImageFolder } from '../testing/image-folder.js';
import { fingerprint } from '../testing/run-fingerprint.js';
import { isGuarded, openTestDevice, secondTestDevice, TEST_DEVICE } from '../testing/test-device.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { Generator, randn, setNumThreads, tensor } from '../torch/index.js';
import { train } from './train.js';

setNumThreads(1);
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-device-'));
const at = (name: string): string => path.join(folder, name);
const images = at('images');
before(async () => {
  await openTestDevice();
  await makeImageFolder(images, { classes: 2, perClass: 5 });
});
after(() => rmSync(folder, { recursive: true }));

const SETTINGS: TrainSettings = {
  ...TINY_SETTINGS,
  ...{ device: TEST_DEVICE, steps: 4, depth: 4, numWorkers: 0, threads: 1, watchImages: ['none'] },
};

async function losses(name: string, settings: TrainSettings): Promise<number[]> {
  await train({ images, output: at(name), settings });
  return lossesOf(at(name));
}
const lossesOf = (run: string): number[] =>
  readLines(path.join(run, 'metrics.jsonl')).map(({ loss }) => Number(loss));

/** CUDA's convolutions round float32 to TF32. */
const LOSSES_APART = isGuarded ? 2e-4 : 5e-3;

const near = (a: ArrayLike<number>, b: ArrayLike<number>, within: number): void => {
  assert.equal(a.length, b.length);
  const most = Math.max(...Array.from(a, (value, i) => Math.abs(value - b[i]!)));
  assert.ok(most <= within, `${most} apart, expected at most ${within}`);
};

it('mixing devices is an error that names them', () => {
  const here = tensor([1, 2, 3]);
  const there = here.to(TEST_DEVICE);
  assert.equal(there.device, TEST_DEVICE);
  assert.deepEqual([...there.to('cpu').toTypedArray()], [1, 2, 3]);
  assert.throws(() => here.add(there), /cpu/);
  const second = secondTestDevice();
  if (second !== null)
    assert.throws(() => there.add(here.to(second)), new RegExp(`${TEST_DEVICE} and ${second}`));
});

it('draws random numbers of its own, from a state that is kept and restored', () => {
  const draw = (): number[] => [...randn([4], { device: TEST_DEVICE }).to('cpu').toTypedArray()].map(Number);
  const generator = new Generator(TEST_DEVICE);
  const before = generator.getState();
  const first = [...randn([4], { device: TEST_DEVICE, generator }).to('cpu').toTypedArray()];
  generator.setState(before);
  assert.deepEqual([...randn([4], { device: TEST_DEVICE, generator }).to('cpu').toTypedArray()], first);
  assert.notDeepEqual(draw(), draw());
});

const RESNET: TrainSettings = { ...SETTINGS, arch: 'resnet', optimizer: 'lars' };
delete RESNET.numHeads;
const VARIANTS: Record<string, TrainSettings> = {
  'DINO with AdamW': SETTINGS,
  'SimDINO with Muon': { ...SETTINGS, loss: 'simdino', outDim: 16, optimizer: 'muon' },
  'KoLeo, micro-batches and checkpointing': {
    ...SETTINGS,
    ...{ koleoWeight: 0.1, microBatchSize: 3, activationCheckpointing: true, optimizer: 'sgd' },
  },
  'a ResNet': RESNET,
};
for (const [name, whole] of Object.entries(VARIANTS)) {
  it(`${name}: trains as on the CPU`, async () => {
    const settings = { ...whole, dropPathRate: 0, steps: 3 };
    const there = await losses(`${name}-there`, settings);
    near(there, await losses(`${name}-here`, { ...settings, device: 'cpu' }), LOSSES_APART);
  });
}

const PRECISIONS = ['fp32', 'bf16', ...(TEST_DEVICE.startsWith('cuda') ? (['fp16'] as const) : [])] as const;
for (const precision of PRECISIONS) {
  it(`a resumed run is the same in ${precision}, drop path and batch norm included`, async () => {
    const settings = { ...SETTINGS, precision };
    const [whole, stopped] = [at(`${precision}-whole`), at(`${precision}-stopped`)];
    await train({ images, output: whole, settings });
    const stop = new AbortController();
    await train({
      ...{ images, output: stopped, settings, signal: stop.signal },
      onEvent: (event) => event.type === 'step' && event.step === 2 && stop.abort(),
    });
    await train({ output: stopped, resume: true });
    if (isGuarded) assert.deepEqual(fingerprint(stopped), fingerprint(whole), 'to the bit');
    // CUDA's backward passes of attention, interpolation and convolutions add in another order each time
    else near(lossesOf(stopped), lossesOf(whole), LOSSES_APART);
  });
}

it('reads features, k-NN and quality as on the CPU', async () => {
  const [there, here] = [TEST_DEVICE, 'cpu'].map((device) => loadModel(at('fp32-whole'), { device }));
  const [a, b] = [
    await embed(there!, images, { numWorkers: 0 }),
    await embed(here!, images, { numWorkers: 0 }),
  ];
  near(a.features, b.features, isGuarded ? 1e-4 : 1e-2);
  const options = { train: images, val: images, k: [3] };
  assert.deepEqual((await evaluateKnn(there!, options)).top1, (await evaluateKnn(here!, options)).top1);
  const [qa, qb] = [await evaluateQuality(there!, { images }), await evaluateQuality(here!, { images })];
  near([qa.score], [qb.score], isGuarded ? 1e-6 : 0.05);
  for (const model of [there, here]) model!.dispose();
});

it('two processes train together by NCCL', { skip: isGuarded || secondTestDevice() === null }, async () => {
  const dino = fileURLToPath(new URL('../../bin/dino.js', import.meta.url));
  const flags = [
    '--device',
    'cuda',
    '--nproc',
    '2',
    '--steps',
    '2',
    '--batch-size',
    '2',
    '--arch',
    'vit_tiny',
  ];
  await promisify(execFile)(process.execPath, [dino, 'train', images, '--output', at('nccl'), ...flags]);
  assert.equal(readLines(path.join(at('nccl'), 'metrics.jsonl')).at(-1)?.['step'], 2);
});
