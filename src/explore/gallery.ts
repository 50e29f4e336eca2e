/**
 * The images of an index as a web export takes them: its features and their transform are used as they are, nothing is
 * computed again.
 */
import { shellPath } from '../plain/shell.js';
import { modelArgument } from '../models/model-argument.js';
import { indexArgument } from './arguments.js';
import { checkCall } from '../plain/check-options.js';
import { ConfigError, DataError } from '../errors.js';
import { defaultEvalSizes } from '../plain/eval-geometry.js';
import type { Model } from '../model.js';
import type { GallerySource } from '../export/web/gallery.js';
import { type ImageIndex, imageWithin } from './image-index.js';
import { sha256Files } from '../files/checksum.js';

/**
 * @throws DataError for an index of other weights, or none of whose images exists any more; ConfigError for one whose
 *   features are not those that the page computes of a visitor's image.
 */
export function galleryOfIndex(index: ImageIndex, model: Model): GallerySource {
  checkCall('galleryOfIndex()', indexArgument(index), modelArgument(model));
  const { checkpointKey, files, givenHeads } = model.origin;
  const { folder, manifest, images } = index;
  const { weights, settings } = manifest;
  const { resize, crop } = defaultEvalSizes(model.architecture.imgSize);
  const source = manifest.images.source;
  if (weights.sha256 !== sha256Files(files) || weights.checkpointKey !== checkpointKey) {
    throw new DataError(
      `${folder} was made with other weights (${weights.checkpointKey} of ${weights.file}) than ${checkpointKey} of ` +
        `${model.file}: their features can't be compared. Export those weights, or make an index with these: ` +
        `dino index ${shellPath(model.file)} ${shellPath(source)} --output FOLDER`,
    );
  }
  if (weights.numHeads !== givenHeads && weights.numHeads !== model.architecture.numHeads) {
    throw new DataError(
      `${folder} was made with numHeads ${weights.numHeads ?? 'not given'}, and the model has ` +
        `${givenHeads ?? 'none given'}: give both the same --num-heads, or make the index again.`,
    );
  }
  if (weights.arch !== model.architecture.arch) {
    throw new DataError(
      `${folder} was made with these weights as ${weights.arch}, and now they are ${model.architecture.arch}: give the ` +
        'same --normalization, or make the index again.',
    );
  }
  if (settings.features !== 'cls' || settings.resize !== resize || settings.crop !== crop) {
    throw new ConfigError(
      `${folder} holds ${settings.features} features of ${settings.crop} pixels (resized to ${settings.resize}); the page ` +
        `computes cls features of ${crop} pixels (resized to ${resize}): make an index without --features and sizes, or ` +
        `give --images ${shellPath(source)}`,
    );
  }
  const all = index.rawFeatures();
  const rows: number[] = [];
  const gone: GallerySource['skipped'][number][] = [];
  for (const row of images.keys()) {
    const path = index.pathOf(row);
    try {
      imageWithin(manifest.images.root, path);
      rows.push(row);
    } catch (error) {
      gone.push({ path, reason: (error as Error).message });
    }
  }
  if (rows.length === 0) {
    throw new DataError(`no image of ${folder} can be read (${manifest.images.root}): ${gone[0]!.reason}`);
  }
  const features = new Float32Array(rows.length * index.width);
  for (const [i, row] of rows.entries())
    features.set(all.subarray(row * index.width, (row + 1) * index.width), i * index.width);
  return {
    root: manifest.images.root,
    paths: rows.map((row) => index.pathOf(row)),
    labels: rows.map((row) => images[row]!.label),
    features,
    transform: index.transform,
    skipped: gone,
  };
}
