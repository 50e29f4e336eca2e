/** Exports weights: the backbone, or backbone and head, as one file for other programs. */
import path from 'node:path';
import { checkCall, count, filePath, oneOf, optionsOf, text, yesOrNo } from '../plain/check-options.js';
import { CheckpointError, ConfigError } from '../errors.js';
import { buildBackbone, VisionTransformer } from '../models/index.js';
import { withoutInit } from '../nn/index.js';
import { noGrad, scope, type Tensor } from '../torch/index.js';
import { type Architecture, backboneOptions, familyOf, learnsPositions } from './architecture.js';
import { type NormalizationName, NORMALIZATIONS } from '../models/dinov3-architectures.js';
import { checkNotInput } from '../files/new-places.js';
import { assertWritable, makeFolderOf } from '../files/output.js';
import { readNetwork } from './network.js';
import { writePth } from './pth-write.js';
import { RECORD_ATTRIBUTE, recordOf } from './record.js';
import { writeSafetensors } from './safetensors.js';

export interface ExportWeightsOptions {
  /** `safetensors`, or `pth` for torch.save's format. */
  format: 'safetensors' | 'pth';
  /** The file. */
  output: string;
  /** Which network of a checkpoint; default `teacher`. */
  checkpointKey?: string;
  /** The head too, under `head.`, and the backbone under `backbone.`, as in the reference's checkpoints; default false. */
  withHead?: boolean;
  /** Resize the position embeddings for images of this side, pixels: the reference's scripts expect 224. */
  imageSize?: number;
  /** Attention heads of a lone weights file that doesn't say them. */
  numHeads?: number;
  /** How images are normalized, for weights of DINOv3 that don't say it. */
  normalization?: NormalizationName;
}

export interface ExportWeightsResult {
  output: string;
  format: string;
  tensors: number;
  /** Number of values. */
  parameters: number;
  architecture: Architecture;
  /** Choices that the caller may want to know of, such as which of several networks was taken. */
  notes: readonly string[];
  /** Possible problems of the weights, such as guessed heads. */
  warnings: readonly string[];
}

const exportOptions = optionsOf<ExportWeightsOptions>(
  { format: oneOf(['safetensors', 'pth']), output: filePath },
  {
    checkpointKey: text,
    withHead: yesOrNo,
    imageSize: count(1),
    numHeads: count(1),
    normalization: oneOf(NORMALIZATIONS),
  },
);

/**
 * Writes weights under the reference's names, with a record of the model: heads, patch and image size, ... A backbone
 * without a head loads with `strict=True` into the reference's own model.
 *
 * @throws ConfigError when the output is the weights' own file; CheckpointError when the weights can't be read, don't fit a model, have no head although one is wanted, or the
 *   file can't be written; an existing file is then untouched.
 */
export function exportWeights(weights: string, options: ExportWeightsOptions): ExportWeightsResult {
  checkCall('exportWeights()', ['weights', filePath, weights], ['options', exportOptions, options]);
  const { format, output, withHead = false, imageSize } = options;
  assertWritable(output, CheckpointError);
  const { checkpointKey, numHeads, normalization } = options;
  const network = readNetwork(weights, { checkpointKey, numHeads, normalization, withHead });
  const { architecture, located, backbone: state, head } = network;
  checkNotInput(output, network.file.files);
  if (withHead && head === null)
    throw new CheckpointError(`${located.file} has no DINO head: leave out --with-head`);
  const { arch, patchSize } = architecture;
  if (
    imageSize !== undefined &&
    !(Number.isInteger(imageSize) && imageSize > 0 && imageSize % patchSize === 0)
  )
    throw new ConfigError(
      `--image-size is ${imageSize}; expected a multiple of the patch size, ${patchSize}`,
    );
  if (imageSize !== undefined && !learnsPositions(architecture))
    throw new ConfigError(`--image-size moves position embeddings to another grid, and ${arch} has none`);
  return scope(() => {
    // loaded into a model first, so that only complete weights are written
    const model = withoutInit(() => buildBackbone(backboneOptions(architecture)));
    try {
      model.loadStateDict(state);
      const tensors = new Map<string, Tensor>(state);
      if (imageSize !== undefined && model instanceof VisionTransformer)
        tensors.set(
          'pos_embed',
          noGrad(() => model.interpolatePosEncoding(imageSize, imageSize)),
        );
      const named = new Map<string, Tensor>();
      const aliases = familyOf(architecture)?.aliases ?? {};
      for (const [alias, name] of Object.entries(aliases)) tensors.set(alias, tensors.get(name) as Tensor);
      for (const [name, tensor] of tensors) named.set(head === null ? name : `backbone.${name}`, tensor);
      for (const [name, tensor] of head ?? []) named.set(`head.${name}`, tensor);
      const moved = architecture.positionsSize === undefined ? 'imgSize' : 'positionsSize';
      const written = imageSize === undefined ? architecture : { ...architecture, [moved]: imageSize };
      const record = recordOf(written, model.normalization, network.headsAreGuess);
      makeFolderOf(output, CheckpointError);
      if (format === 'pth') writePth(output, named, { [RECORD_ATTRIBUTE]: new Map(Object.entries(record)) });
      else writeSafetensors(output, named, { format: 'pt', ...record });
      return {
        output: path.resolve(output),
        format,
        tensors: named.size,
        parameters: [...named.values()].reduce((sum, tensor) => sum + tensor.numel, 0),
        architecture: written,
        notes: network.notes,
        warnings: network.warnings,
      };
    } catch (error) {
      if (error instanceof CheckpointError && !error.message.includes(located.file))
        throw new CheckpointError(`${located.file}: ${error.message}`, { cause: error });
      throw error;
    } finally {
      model.dispose();
    }
  });
}
