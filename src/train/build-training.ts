/** The networks, the loss and the optimizer that settings describe, with initial weights drawn by their seed. */
import {
  CodingRateLoss,
  DINOLoss,
  LowRankUpdates,
  MultiCropWrapper,
  type TrainingState,
} from '../dino/index.js';
import { type Backbone, type BackboneFactory, buildBackbone, DINOHead } from '../models/index.js';
import { buildOptimizer, LossScaler, parameterGroups } from '../optim/index.js';
import type { Precision } from '../plain/precisions.js';
import type { TrainSettings } from '../run/settings.js';
import { dtypeOf, Generator, withGenerators } from '../torch/index.js';

export interface BuiltTraining {
  /** Teacher and student have different weights until they are given the same. */
  state: TrainingState & { generators: readonly Generator[] };
  /** Builds a further backbone like the teacher's. */
  buildTeacherBackbone: () => Backbone;
}

/** @param build - Builds the backbones of arch 'custom'. */
export function buildTraining(
  settings: TrainSettings,
  precision: Precision,
  build: BackboneFactory = buildBackbone,
): BuiltTraining {
  const { device } = settings;
  const devices = device === 'cpu' ? ['cpu'] : ['cpu', device];
  const generators = devices.map((name) => new Generator(name).manualSeed(settings.seed));
  const head = {
    outDim: settings.loss === 'dino' ? settings.outDim : null,
    useBn: settings.useBnInHead,
    nlayers: settings.headNlayers,
    hiddenDim: settings.headHiddenDim,
    bottleneckDim: settings.headBottleneckDim,
  };
  // position embeddings for the size of the global crops, as the reference has them for its 224 pixels
  const backbone = { ...settings, imgSize: settings.imgSize ?? settings.globalCropsSize };
  const buildTeacherBackbone = (): Backbone => build({ ...backbone, dropPathRate: 0, patchDropRate: 0 });
  const { student, teacher } = withGenerators(generators, () => {
    const studentBackbone = build(backbone);
    const { embedDim } = studentBackbone;
    return {
      student: new MultiCropWrapper(
        studentBackbone,
        new DINOHead({ ...head, inDim: embedDim, normLastLayer: settings.normLastLayer }),
      ).to(device),
      teacher: new MultiCropWrapper(buildTeacherBackbone(), new DINOHead({ ...head, inDim: embedDim })).to(
        device,
      ),
    };
  });
  for (const parameter of teacher.parameters()) parameter.requiresGrad = false;
  const outputs = { outDim: settings.outDim, crops: 2 + settings.localCropsNumber, device };
  const loss =
    settings.loss === 'dino'
      ? new DINOLoss(outputs)
      : new CodingRateLoss({ ...outputs, compressionWeight: settings.compressionWeight });
  const { loraRank: rank, loraLayers: layers, channels } = settings;
  // a first layer that was expanded from RGB has channels to learn
  const isTrained = (name: string): boolean => channels !== undefined && /^patch_embed\./.test(name);
  const lowRank =
    rank === undefined
      ? undefined
      : withGenerators(generators, () => new LowRankUpdates(student, { rank, layers, isTrained }));
  const groups = parameterGroups(lowRank?.parametersOf(student) ?? [...student.namedParameters()]);
  const optimizer = buildOptimizer(settings.optimizer, groups, dtypeOf(precision));
  const scaler = new LossScaler(precision === 'fp16');
  return {
    state: { student, teacher, optimizer, loss, scaler, device, generators, lowRank },
    buildTeacherBackbone,
  };
}
