/** Whole training steps on crops in memory: forward passes, loss, backward, clip, AdamW, teacher, centre. */
import {
  DataParallel,
  DINOLoss,
  dinoStep,
  MultiCropWrapper,
  queueStep,
  UnreadSteps,
} from '../dist/dino/index.js';
import { buildBackbone, DINOHead } from '../dist/models/index.js';
import { buildOptimizer, LossScaler, parameterGroups } from '../dist/optim/index.js';
import {
  hasStreams,
  manualSeed,
  ProcessGroup,
  randn,
  scope,
  setNumThreads,
  Store,
} from '../dist/torch/index.js';
import { contestant } from './contestant.mjs';
import { settled } from './precision.mjs';

const c = JSON.parse(process.argv[2]);
const device = c.device ?? 'cpu';
setNumThreads(c.threads);
manualSeed(0, device);
const build = (dropPathRate, normLastLayer) => {
  const backbone = buildBackbone({
    arch: c.arch,
    patchSize: c.patchSize,
    imgSize: c.globalSize,
    dropPathRate,
  });
  return new MultiCropWrapper(
    backbone,
    new DINOHead({ inDim: backbone.embedDim, outDim: c.outDim, normLastLayer }),
  ).to(device);
};
const student = build(c.dropPathRate, true);
const teacher = build(0, true);
teacher.loadStateDict(student.stateDict());
for (const parameter of teacher.parameters()) parameter.requiresGrad = false;
const state = {
  student,
  teacher,
  optimizer: buildOptimizer('adamw', parameterGroups(student.namedParameters())),
  loss: new DINOLoss({ outDim: c.outDim, crops: 2 + c.locals, device }),
  scaler: new LossScaler(c.precision === 'fp16'),
  device,
};
if (c.size > 1) {
  const { rank, size } = c;
  const store = Store.file(c.store, size);
  const group = await ProcessGroup.connect(store, { rank, size, address: '127.0.0.1', timeoutMs: 300_000 });
  state.parallel = new DataParallel(group, student, teacher);
}
const globals = randn([2 * c.batch, 3, c.globalSize, c.globalSize], { device });
const locals = randn([c.locals * c.batch, 3, c.localSize, c.localSize], { device });
const unread = hasStreams(device) ? new UnreadSteps(state) : null;
const step = (precision) =>
  scope(() => {
    const crops = [globals, locals];
    const how = {
      epoch: 1,
      lr: 1e-5,
      weightDecay: 0.04,
      momentum: 0.996,
      teacherTemp: 0.04,
      clipGrad: 3,
      freezeLastLayer: 1,
      microBatchSize: 0,
      activationCheckpointing: false,
      precision,
      measure: false,
    };
    // as in a training: on a GPU the host doesn't wait for each step
    if (unread === null || precision === 'fp16') dinoStep(state, crops, how);
    else queueStep(state, unread, crops, how);
  });
/** The end of all steps. */
const settle = () => {
  if (unread !== null && !unread.isEmpty) unread.read();
};
const timed = (precision) => {
  step(precision);
  settle();
};
const precision = await settled(c.precision, device, timed);
timed(precision);
await contestant(() => {
  for (let i = 0; i < c.steps; i++) step(precision);
  settle();
  return { units: c.steps, precision };
});
