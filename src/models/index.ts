/** Backbones, head, and names. */
export { type AttentiveBackbone, Backbone, isAttentive } from './backbone.js';
export { DINOHead, type DINOHeadOptions } from './dino-head.js';
export { IMAGENET_MEAN, IMAGENET_STD, imageTensor, normalizeImages } from './normalize.js';
export {
  architectures,
  type BackboneFactory,
  type BackboneOptions,
  backboneShapes,
  buildBackbone,
} from './registry.js';
export { ResNet, type ResNetOptions } from './resnet.js';
export { VisionTransformer, type VisionTransformerOptions } from './vision-transformer.js';
export { XCiT, type XCiTOptions } from './xcit.js';
