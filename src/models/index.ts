/** Backbones, the DINO head, and the table of architectures. */
export {
  type AttentiveBackbone,
  Backbone,
  hasTokens,
  isAttentive,
  patchTokens,
  type TokenBackbone,
  wholePatchesOf,
} from './backbone.js';
export { Dinov2, type Dinov2Options } from './dinov2.js';
export { DINOHead, type DINOHeadOptions } from './dino-head.js';
export {
  IMAGENET,
  SAT493M,
  imageTensor,
  type ImageInput,
  type Normalization,
  normalizeImages,
  normalizeUnit,
  pixelTensor,
  RGB_INPUT,
  unitLength,
} from './normalize.js';
export {
  ARCHITECTURES,
  type ArchitectureEntry,
  architectureEntry,
  type ArchitectureName,
  architectureNames,
  FAMILIES,
  type Family,
  type Shapes,
  ownSizes,
  sizedName,
  hasPatchFeatures,
  noPatchFeatures,
} from './architectures.js';
export { type BackboneFactory, type BackboneOptions, backboneShapes, buildBackbone } from './registry.js';
export { ClassAttentionResNet, type ClassAttentionResNetOptions } from './class-attention-resnet.js';
export { ConvNeXt, type ConvNeXtOptions } from './convnext.js';
export { isOfSatellites, type NormalizationName, NORMALIZATIONS } from './dinov3-architectures.js';
export { expandChannels, takesChannels } from './expand-channels.js';
export { DinoV3Transformer, type DinoV3TransformerOptions } from './dinov3.js';
export { ResNet, type ResNetOptions } from './resnet.js';
export { PatchEmbed, VisionTransformer, type VisionTransformerOptions } from './vision-transformer.js';
export { XCiT, type XCiTOptions } from './xcit.js';
