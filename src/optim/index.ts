/** Optimizers and schedules. */
export { LossScaler } from './loss-scaler.js';
export { Optimizer, type StepOptions } from './optimizer.js';
export { AdamW } from './adamw.js';
export { SGD } from './sgd.js';
export { LARS } from './lars.js';
export { Muon } from './muon.js';
export { lbfgs, lbfgsAsync, type Evaluated, type LbfgsOptions, type LbfgsResult } from './lbfgs.js';
export { takeBack } from './taken.js';
export { buildOptimizer } from './registry.js';
export { OPTIMIZERS, type OptimizerName } from './names.js';
export { backboneShare, isOfBackbone, layerRates, type LayerRates } from './layer-rates.js';
export {
  cancelBackboneGradients,
  cancelLastLayerGradients,
  clipGradients,
  parameterGroups,
  type NamedParameter,
  type ParameterGroup,
} from './parameters.js';
export {
  cosineSchedule,
  scaleLearningRate,
  teacherTemperatureSchedule,
  type CosineSchedule,
  type TeacherTemperature,
} from './schedules.js';
