/** Student, teacher, loss and optimizer with hash-filled weights, and crops, as in the training fixtures. */
import { DINOLoss, MultiCropWrapper, type TrainingState } from '../dino/index.js';
import { buildBackbone, DINOHead, normalizeImages } from '../models/index.js';
import { buildOptimizer, LossScaler, parameterGroups, type OptimizerName } from '../optim/index.js';
import { fromTypedArray, ops, type Tensor } from '../torch/index.js';
import { hashBytes, hashFill } from './hash-fill.js';

export interface HashStateOptions {
  /** Sizes of a `vit`. */
  model: object;
  head: { outDim: number };
  weightStd: number;
  normLastLayer?: boolean;
  useBnInHead?: boolean;
  localCropsNumber: number;
  optimizer?: OptimizerName;
  dropPathRate?: number;
  fp16?: boolean;
}

export function hashState(options: HashStateOptions): TrainingState {
  const { model, head, weightStd, normLastLayer = true, useBnInHead = false } = options;
  const build = (normed: boolean, dropPathRate: number): MultiCropWrapper => {
    const backbone = buildBackbone({ arch: 'vit', ...model, dropPathRate });
    const headOptions = { inDim: backbone.embedDim, ...head, normLastLayer: normed, useBn: useBnInHead };
    return hashFill(new MultiCropWrapper(backbone, new DINOHead(headOptions)), weightStd);
  };
  const [student, teacher] = [build(normLastLayer, options.dropPathRate ?? 0), build(true, 0)];
  for (const parameter of teacher.parameters()) parameter.requiresGrad = false;
  return {
    student,
    teacher,
    optimizer: buildOptimizer(options.optimizer ?? 'adamw', parameterGroups(student.namedParameters())),
    loss: new DINOLoss({ outDim: head.outDim, crops: 2 + options.localCropsNumber }),
    scaler: new LossScaler(options.fp16 ?? false),
    device: 'cpu',
  };
}

export interface HashCrops {
  batch: number;
  globalCropsSize: number;
  localCropsSize: number;
  localCropsNumber: number;
}

/** The crops of a step, normalized: (2 * B, 3, S, S) and (L * B, 3, s, s). */
export function hashCrops(step: number, s: HashCrops): [Tensor, Tensor] {
  const crop = (index: number, size: number): Tensor => {
    const shape = [s.batch, 3, size, size];
    return fromTypedArray(hashBytes(`step${step}.crop${index}`, shape), shape);
  };
  const globals = ops.cat([crop(0, s.globalCropsSize), crop(1, s.globalCropsSize)]);
  const locals = ops.cat(Array.from({ length: s.localCropsNumber }, (_, i) => crop(2 + i, s.localCropsSize)));
  return [normalizeImages(globals), normalizeImages(locals)];
}
