/**
 * The data room: from folders of images to batches of crops in shared memory. Its folders, each using those before it:
 * `crops` (augmentation and rendering), `read` (bytes and pixels of one image, wherever it lies), `list` (which images
 * there are, in folders, text files and shards), `write` (shards) and `load` (batches). One thing goes against this order:
 * to read an image by its name in a shard, `read` loads `list/shards/find-in-shard.ts`, which scans the shard.
 */
export {
  augmentationProblems,
  DEFAULT_AUGMENTATION,
  GLOBAL_CROPS,
  ONLY_FOR_RGB,
  resolveAugmentation,
  sampleCropParams,
  type AugmentationSettings,
  type CropKey,
  type CropParams,
  type JitterParams,
} from './crops/augmentation.js';
export {
  renderCrops,
  resizeImage,
  type DeepImage,
  type PixelImage,
  type ResizeOptions,
} from './crops/crops.js';
export {
  decodeImage,
  imageHeader,
  imageThumbnail,
  modelPicture,
  type DecodeImageOptions,
  type RgbImage,
} from './read/decode.js';
export { decodeDeep } from './read/decode-deep.js';
export { isImageBytes, viewOf, type EncodedImage, type ImageBytes } from './read/encoded-image.js';
export type { ImageItem, ImageItems } from './list/image-items.js';
export { ImageReader } from './read/image-reader.js';
export { readImageFile } from './read/read-image-file.js';
export { hasImageExtension, IMAGE_EXTENSIONS } from './list/image-extensions.js';
export {
  kindsOf,
  type LeftOut,
  LeftOutCounter,
  leftOutLines,
  type ListNotes,
  notesOf,
} from './list/left-out.js';
export {
  firstSkipped,
  skippedPlace,
  type ImageList,
  type ListOptions,
  type UnreadablePlace,
} from './list/image-list.js';
export { listImages, listShardSource } from './list/list-images.js';
export { onlyLabelled } from './list/only-labelled.js';
export {
  EvalLoader,
  MultiCropLoader,
  ResizedCropLoader,
  ViewLoader,
  type CropBatch,
  type EvalBatch,
  type EvalLoaderOptions,
  type MultiCropLoaderOptions,
  type ViewLoaderOptions,
} from './load/loaders.js';
export { type ChannelStatistics, measureChannels } from './load/measure-channels.js';
export { defaultNumWorkers } from './load/pooled-loader.js';
export { PackedImages, PackedImagesBuilder } from './list/packed-images.js';
export type { ShardList } from './list/shards/list-shards.js';
export { writeShards, type WriteShardsOptions, type WriteShardsResult } from './write/write-shards.js';
export { epochPermutation, philox4x32, PhiloxStream, Purpose, stepSeed } from './crops/philox.js';
export type { Box, Fit, SkippedImage } from './load/render.js';
export { reduceImage, thumbnail, thumbnailShape } from './crops/thumbnail.js';
