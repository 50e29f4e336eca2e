/** Modules and layers. */
import '../plain/disposal.js';
export { Identity, Layer, Module, ModuleList, Sequential } from './module.js';
export {
  addBranch,
  BatchNorm,
  Conv2d,
  Dropout,
  DropPath,
  GELU,
  LayerNorm,
  Linear,
  ReLU,
  synchronizeBatchNorm,
  WeightNormLinear,
} from './layers.js';
export { defaultUniform_, kaimingNormal_, normal_, truncNormal_, withoutInit } from './init.js';
export { ActivationCheckpoints, checkpoint } from './checkpoint.js';
