/**
 * A model as an ONNX file. Its input is `pixel_values`, (B, 3, H, W) RGB in [0, 1] normalized by the model's mean and
 * standard deviation; the batch is dynamic. The file says so itself, in its metadata.
 */
import path from 'node:path';
import { modelArgument } from '../../models/model-argument.js';
import { checkCall, filePath, optionsOf, pixels, yesOrNo } from '../../plain/check-options.js';
import { defaultEvalSizes, notWhole } from '../../plain/eval-geometry.js';
import { CheckpointError, ConfigError } from '../../errors.js';
import {
  architectureEntry,
  type Backbone,
  ConvNeXt,
  DinoV3Transformer,
  hasTokens,
  isAttentive,
  VisionTransformer,
} from '../../models/index.js';
import { packageVersion } from '../../version.js';
import type { LoadedModel } from '../../weights/loaded-model.js';
import { writeFileWhole } from '../../files/atomic-file.js';
import { makeFolder } from '../../files/guarded.js';
import { checkNotInput } from '../../files/new-places.js';
import { assertWritable, makeFolderOf } from '../../files/output.js';
import { recordOf } from '../../weights/record.js';
import { addClassAttention, addResNet, hasClassAttention, isResNet } from './convolutional.js';
import { addConvNeXt, addDinoV3 } from './dinov3.js';
import { GraphBuilder } from './graph-builder.js';
import { encodeModel, type OnnxModel } from './proto.js';
import { addVisionTransformer, type TransformerGraphOptions } from './vision-transformer.js';

/** Operators of ONNX 1.12 (2022): the oldest with LayerNormalization, so that old runtimes can read the file too. */
export const OPSET = 17;
/** The file format's version of that release. */
const IR_VERSION = 8;
/** What our files name as the program that wrote them. */
export const PRODUCER = 'dino-ts';

export interface OnnxOptions {
  /** Side in pixels, or [height, width], of the images that the file takes. Default: the model's own. */
  imageSize?: number | readonly [height: number, width: number];
  /** Take images of any size of at least a patch; default false. */
  dynamicSize?: boolean;
  /** Also output the last block's attention, (B, heads, 1 + R + N, 1 + R + N), R registers; default false. */
  attention?: boolean;
}

export interface OnnxExport {
  file: string;
  bytes: number;
  opset: number;
  /** [height, width] in pixels; null for any. */
  imageSize: [height: number, width: number] | null;
  /** Name and shape; variable dimensions are names. */
  inputs: Record<string, (number | string)[]>;
  outputs: Record<string, (number | string)[]>;
}

/** @throws ConfigError for an invalid size. */
export function onnxSize(model: LoadedModel, options: OnnxOptions): [height: number, width: number] | null {
  const { imageSize, dynamicSize = false } = options;
  if (dynamicSize) {
    if (imageSize !== undefined)
      throw new ConfigError('imageSize and dynamicSize exclude each other: one size, or any size');
    return null;
  }
  const { imgSize, patchSize, wholePatches = false } = model.architecture;
  const wanted = imageSize ?? imgSize;
  const size: [number, number] = typeof wanted === 'number' ? [wanted, wanted] : [wanted[0], wanted[1]];
  if (!size.every((side) => Number.isInteger(side) && side >= patchSize)) {
    throw new ConfigError(
      `image size ${size.join(' x ')}: expected whole numbers, at least ${patchSize} (one patch)`,
    );
  }
  const wrong = wholePatches ? size.find((side) => side % patchSize !== 0) : undefined;
  if (wrong !== undefined)
    throw new ConfigError(`image size ${size.join(' x ')}; ${notWhole(wrong, patchSize)}`);
  return size;
}

/**
 * The model as ONNX's messages.
 * @param extend - Adds what is computed from the outputs, such as a classifier's head.
 * @throws ConfigError for a backbone that can't be exported.
 */
export function buildOnnx(
  model: LoadedModel,
  options: TransformerGraphOptions,
  extend?: (graph: GraphBuilder) => void,
): OnnxModel {
  const { architecture } = model;
  const backbone: Backbone = model.backbone;
  const { mean, std } = backbone.normalization;
  const isTransformer = backbone instanceof VisionTransformer;
  const isDinoV3 = backbone instanceof DinoV3Transformer;
  if (!isTransformer && !isDinoV3 && options.outputs.attention !== undefined)
    throw new ConfigError(
      `attention is exported only from vision transformers; this model is ${architecture.arch}`,
    );
  const graph = new GraphBuilder();
  const [height, width] = options.size ?? ['height', 'width'];
  const pixels = graph.input(
    'pixel_values',
    ['batch', 3, height, width],
    `RGB images in [0, 1], less the mean ${mean.join(', ')}, over the deviation ${std.join(', ')}`,
  );
  if (isTransformer) {
    addVisionTransformer(graph, backbone, pixels, options);
  } else if (isDinoV3) addDinoV3(graph, backbone, pixels, options);
  else if (backbone instanceof ConvNeXt) addConvNeXt(graph, backbone, pixels, options);
  else if (isResNet(backbone)) addResNet(graph, backbone, pixels, 'feature');
  else if (isAttentive(backbone) && hasClassAttention(backbone)) {
    const { classToken, patchTokens, classAttention } = options.outputs;
    const names = hasTokens(backbone)
      ? { feature: classToken, patches: patchTokens }
      : { feature: 'feature' };
    const count = options.size?.map((side) => Math.ceil(side / backbone.patchSize)); // its convolutions round up
    addClassAttention(graph, backbone, pixels, count === undefined ? 'patches' : count[0]! * count[1]!, {
      ...names,
      attention: classAttention,
    });
  } else
    throw new ConfigError(
      `ONNX export takes vision transformers, ConvNeXts, ResNets and XCiTs; this model is ${architecture.arch}`,
    );
  extend?.(graph);
  return {
    irVersion: IR_VERSION,
    producerName: PRODUCER,
    producerVersion: packageVersion,
    docString: `${architecture.arch}, width ${architecture.embedDim}, patches of ${architecture.patchSize} pixels${trainedWith(architecture.arch)}`,
    opsetImport: [{ domain: '', version: OPSET }],
    graph: graph.build(architecture.arch),
    metadataProps: Object.entries(recordOf(architecture, backbone.normalization)).map(([key, value]) => ({
      key,
      value,
    })),
  };
}

/** For titles: DINOv2's networks may come from DINOv2. */
export const trainedWith = (arch: string): string =>
  architectureEntry(arch)?.family === 'dinov2' ? '' : ', trained with DINO';

/** Writes a temporary file and renames it; makes the folder. @throws CheckpointError when it can't be written. */
export function writeBytes(file: string, bytes: Uint8Array): void {
  makeFolderOf(file, CheckpointError);
  writeFileWhole(file, bytes, { failure: CheckpointError });
}

/** The same for a file by its name in a folder, which may be somebody else's: a link in it is refused. @throws As writeBytes(). */
export function writeBelow(folder: string, name: string, bytes: Uint8Array): void {
  const within = path.resolve(folder);
  const file = path.join(within, name);
  const guard = { within, failure: CheckpointError };
  makeFolder(within, guard);
  makeFolder(path.dirname(file), guard);
  writeFileWhole(file, bytes, guard);
}

/** Names and shapes of inputs or outputs. */
export const shapes = (values: OnnxModel['graph']['input']): Record<string, (number | string)[]> =>
  Object.fromEntries(
    values.map(({ name, type }) => [
      name,
      type.tensorType.shape.dim.map((dim) => ('dimValue' in dim ? dim.dimValue : dim.dimParam)),
    ]),
  );

/** What a file of one size says of its images; of two sides no shorter side and crop would do, so it says neither. */
function sizedMetadata(
  metadata: OnnxModel['metadataProps'],
  [height, width]: readonly [height: number, width: number],
): OnnxModel['metadataProps'] {
  const { resize, crop } = defaultEvalSizes(height);
  const own: Record<string, number> = { resize_shorter_side: resize, center_crop: crop };
  return metadata.flatMap(({ key, value }) =>
    !Object.hasOwn(own, key) ? { key, value } : height === width ? { key, value: String(own[key]) } : [],
  );
}

const onnxOptions = optionsOf<OnnxOptions>(
  {},
  { imageSize: pixels, dynamicSize: yesOrNo, attention: yesOrNo },
);

/**
 * Writes a model as an ONNX file with outputs `class_token` (B, D), `patch_tokens` (B, N, D) and, optionally,
 * `attention` (B, heads, 1 + R + N, 1 + R + N), where the R registers that DINOv2's and DINOv3's models may have follow the
 * class token; of a ConvNeXt or a ResNet with class attention no attention, of another ResNet or an XCiT only `feature`
 * (B, D). The file is either whole or absent.
 *
 * @throws ConfigError for an invalid size or a file that the model was read from, CheckpointError when the file can't be written.
 */
export function exportOnnx(model: LoadedModel, file: string, options: OnnxOptions = {}): OnnxExport {
  checkCall(
    'exportOnnx()',
    modelArgument(model),
    ['file', filePath, file],
    ['options', onnxOptions, options],
  );
  const size = onnxSize(model, options);
  assertWritable(file, CheckpointError);
  checkNotInput(file, model.origin.files);
  const outputs = {
    classToken: 'class_token',
    patchTokens: 'patch_tokens',
    ...(options.attention === true ? { attention: 'attention' } : {}),
  };
  const onnx = buildOnnx(model, { size, outputs });
  if (size !== null) onnx.metadataProps = sizedMetadata(onnx.metadataProps, size);
  const bytes = encodeModel(onnx);
  writeBytes(file, bytes);
  return {
    file: path.resolve(file),
    bytes: bytes.length,
    opset: OPSET,
    imageSize: size,
    inputs: shapes(onnx.graph.input),
    outputs: shapes(onnx.graph.output),
  };
}
