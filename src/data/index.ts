/** The data room: from folders of images to batches of crops in shared memory. */
export {
  augmentationProblems,
  DEFAULT_AUGMENTATION,
  GLOBAL_CROPS,
  resolveAugmentation,
  sampleCropParams,
  type AugmentationSettings,
  type CropKey,
  type CropParams,
  type JitterParams,
} from './augmentation.js';
export { renderCrops, resizeImage, type PixelImage, type ResizeOptions } from './crops.js';
export {
  decodeImage,
  imageHeader,
  imageThumbnail,
  type DecodeImageOptions,
  type RgbImage,
} from './decode.js';
export type { ImageItem, ImageItems } from './image-items.js';
export { ImageReader, readImageFile } from './image-reader.js';
export { IMAGE_EXTENSIONS } from './image-extensions.js';
export {
  listImages,
  listShardSource,
  skippedPlace,
  type ImageList,
  type ListOptions,
  type UnreadablePlace,
} from './list-images.js';
export {
  defaultNumWorkers,
  EvalLoader,
  MultiCropLoader,
  ResizedCropLoader,
  type CropBatch,
  type EvalBatch,
  type EvalLoaderOptions,
  type MultiCropLoaderOptions,
} from './loaders.js';
export { PackedImages, PackedImagesBuilder } from './packed-images.js';
export type { ShardList } from './shards/list-shards.js';
export { writeShards, type WriteShardsOptions, type WriteShardsResult } from './shards/write-shards.js';
export { epochPermutation, philox4x32, PhiloxStream, Purpose, stepSeed } from './philox.js';
export type { Box, Fit, SkippedImage } from './render.js';
export { reduceImage, thumbnail, thumbnailShape } from './thumbnail.js';
