/**
 * How long a checkpoint stops training, and how long writing it takes meanwhile: the state of a ViT-S/16 with the paper's
 * head, after one step (so that AdamW's moments exist).
 *
 *   node bench/checkpoint.mjs [folder to write to] [saves]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { DINOLoss, dinoStep, MultiCropWrapper } from '../dist/dino/index.js';
import { buildBackbone, DINOHead } from '../dist/models/index.js';
import { buildOptimizer, LossScaler, parameterGroups } from '../dist/optim/index.js';
import { manualSeed, randn, scope } from '../dist/torch/index.js';
import { CheckpointWriter } from '../dist/train/checkpoint-writer.js';
import { newestWholeCheckpoint } from '../dist/run/checkpoint-files.js';

const [parent = tmpdir(), saves = '6'] = process.argv.slice(2);
const device = 'cpu';
manualSeed(0, device);
const build = (normLastLayer) => {
  const backbone = buildBackbone({ arch: 'vit_small', patchSize: 16, imgSize: 224, dropPathRate: 0 });
  return new MultiCropWrapper(
    backbone,
    new DINOHead({ inDim: backbone.embedDim, outDim: 65536, normLastLayer }),
  );
};
const [student, teacher] = [build(true), build(true)];
for (const parameter of teacher.parameters()) parameter.requiresGrad = false;
const state = {
  student,
  teacher,
  optimizer: buildOptimizer('adamw', parameterGroups(student.namedParameters())),
  loss: new DINOLoss({ outDim: 65536, crops: 2, device }),
  scaler: new LossScaler(false),
  device,
};
const crops = randn([2, 3, 224, 224]);
const step = () =>
  scope(() =>
    dinoStep(state, [crops], {
      ...{ epoch: 1, lr: 1e-5, weightDecay: 0.04, momentum: 0.996, teacherTemp: 0.04, clipGrad: 3 },
      ...{
        freezeLastLayer: 0,
        microBatchSize: 0,
        activationCheckpointing: false,
        precision: 'fp32',
        measure: false,
      },
    }),
  );
step();

const run = mkdtempSync(path.join(parent, 'dino-bench-'));
try {
  const keep = { last: 2, everyEpochs: 0, stepsPerEpoch: 1 };
  const emit = (event) => {
    if (event.type === 'checkpoint')
      console.log(
        `save ${event.step}: stops training for ${event.copyMs.toFixed(0)} ms, written in ${event.writeMs.toFixed(0)} ms`,
      );
    else console.log(event);
  };
  const writer = new CheckpointWriter({ run, state, keep, emit });
  for (let i = 1; i <= Number(saves); i++) {
    await writer.save(i);
    await writer.settle();
  }
  await writer[Symbol.asyncDispose]();
  const start = performance.now();
  newestWholeCheckpoint(run, console.log);
  console.log(`verified in ${(performance.now() - start).toFixed(0)} ms`);
} finally {
  rmSync(run, { recursive: true, force: true });
}
