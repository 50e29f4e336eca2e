/**
 * One of several processes that train together on fixed crops, for tests:
 * `node parallel-child.js <store file> <rank> <size> <case as JSON> <output folder>`. It gets its share of each batch and
 * writes its results; with size 1 it gets the whole batch.
 */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import {
  CodingRateLoss,
  DataParallel,
  DINOLoss,
  dinoStep,
  LowRankUpdates,
  MultiCropWrapper,
  type TrainingState,
} from '../dino/index.js';
import { buildBackbone, DINOHead, ResNet, XCiT } from '../models/index.js';
import { buildOptimizer, LossScaler, parameterGroups } from '../optim/index.js';
import { manualSeed, ProcessGroup, scope, setNumThreads, Store, type Tensor } from '../torch/index.js';
import { writeSafetensors } from '../weights/safetensors.js';
import { hashFill } from './hash-fill.js';
import { hashCrops } from './training-state.js';

export interface ParallelCase {
  model: { arch: string };
  /** `outDim` null: SimDINO's head and loss. */
  head: { outDim: number | null; useBn: boolean };
  batch: number;
  steps: number;
  /** Side of the global crops, default 32; local ones have half of it. */
  crop?: number;
  /** Images of all processes together that go through the networks at once. */
  microBatchSize?: number;
  koleoWeight?: number;
  activationCheckpointing?: boolean;
  /** Rank of low-rank updates, in place of all weights of the backbone. */
  loraRank?: number;
  dtype?: 'float64';
}

const LOCAL_CROPS = 2;
const BOTTLENECK = 32;

function build({ model, head, dtype, loraRank: rank }: ParallelCase): TrainingState {
  const network = (normLastLayer: boolean): MultiCropWrapper => {
    const backbone =
      model.arch === 'resnet'
        ? new ResNet({ block: 'basic', layers: [1, 1, 1, 1], width: 16 }) // half of ResNet-18's blocks, a quarter of its width
        : model.arch === 'xcit'
          ? new XCiT({ patchSize: 8, embedDim: 32, depth: 1, numHeads: 2 })
          : buildBackbone({ patchSize: 8, dropPathRate: 0, ...model });
    const widths = { inDim: backbone.embedDim, hiddenDim: 64, bottleneckDim: BOTTLENECK };
    const options = { ...head, ...widths, normLastLayer };
    const filled = hashFill(new MultiCropWrapper(backbone, new DINOHead(options)), 0.05);
    return dtype === undefined ? filled : filled.to(dtype);
  };
  const [student, teacher] = [network(false), network(true)];
  for (const parameter of teacher.parameters()) parameter.requiresGrad = false;
  const lowRank = rank === undefined ? undefined : new LowRankUpdates(student, { rank });
  const crops = 2 + LOCAL_CROPS;
  return {
    ...{ student, teacher, device: 'cpu', scaler: new LossScaler(false), lowRank },
    optimizer: buildOptimizer(
      'adamw',
      parameterGroups(lowRank?.parametersOf(student) ?? student.namedParameters()),
    ),
    loss:
      head.outDim === null
        ? new CodingRateLoss({ outDim: BOTTLENECK, crops })
        : new DINOLoss({ outDim: head.outDim, crops }),
  };
}

/** A process's images of a batch of crops: (n * B, 3, S, S) to (n * B / size, 3, S, S). */
function share(crops: Tensor, batch: number, rank: number, size: number): Tensor {
  const [rows = 0, ...shape] = crops.shape;
  return crops
    .view([rows / batch, batch / size, size, ...shape])
    .select(2, rank)
    .flatten(0, 1);
}

const [file = '', rankText = '0', sizeText = '1', json = '{}', output = '.'] = process.argv.slice(2);
const [rank, size] = [Number(rankText), Number(sizeText)];
const what = JSON.parse(json) as ParallelCase;
setNumThreads(1);
manualSeed(0); // what low-rank updates are drawn from
const { crop = 32, batch } = what;
const sizes = { globalCropsSize: crop, localCropsSize: crop / 2, localCropsNumber: LOCAL_CROPS, batch };
const state = build(what);
let group: ProcessGroup | null = null;
if (size > 1) {
  const store = Store.file(file, size);
  group = await ProcessGroup.connect(store, { rank, size, address: '127.0.0.1', timeoutMs: 20_000 });
  state.parallel = new DataParallel(group, state.student, state.teacher);
}
const losses: number[] = [];
const norms: number[][] = [];
for (let step = 0; step < what.steps; step++) {
  const result = scope(() => {
    const [globals, locals] = hashCrops(step, sizes).map((crops) =>
      share(what.dtype === undefined ? crops : crops.to(what.dtype), batch, rank, size),
    ) as [Tensor, Tensor];
    return dinoStep(state, [globals, locals], {
      ...{ epoch: 1, lr: 5e-4, weightDecay: 0.04, momentum: 0.99, teacherTemp: 0.04, clipGrad: 3 },
      ...{ freezeLastLayer: 0, precision: 'fp32', measure: true },
      microBatchSize: (what.microBatchSize ?? 0) / size,
      koleoWeight: what.koleoWeight ?? 0,
      activationCheckpointing: what.activationCheckpointing ?? false,
    });
  });
  losses.push(result.loss, result.statistics?.entropy ?? NaN, result.statistics?.kl ?? NaN);
  norms.push(result.norms);
}
const weights = new Map<string, Tensor>();
for (const [name, network] of [['student', state.student] as const, ['teacher', state.teacher] as const])
  for (const [key, tensor] of network.stateDict()) weights.set(`${name}.${key}`, tensor);
for (const [key, tensor] of state.optimizer.stateDict()) weights.set(key, tensor);
weights.set('center', state.loss.center);
writeSafetensors(path.join(output, `rank-${rank}-of-${size}.safetensors`), weights);
writeFileSync(path.join(output, `rank-${rank}-of-${size}.json`), JSON.stringify({ losses, norms }));
if (group !== null) {
  await group.barrier();
  state.parallel?.dispose();
  group.close();
}
