/**
 * A folder as `@huggingface/transformers` (transformers.js) loads it for `pipeline('image-feature-extraction')`:
 * config.json, preprocessor_config.json, onnx/model.onnx and onnx/model_quantized.onnx.
 *
 * The pipeline gives `last_hidden_state` (B, 1 + N, D), the class token first (of DINOv2's and DINOv3's models with registers
 * these next, as transformers has them), and with `pool: true` `pooler_output`,
 * which is the class token (B, D). Its processor resizes by bilinear or bicubic interpolation without antialiasing, or as
 * the browser's canvas does: images larger than the model's size give slightly different features than here.
 */
import path from 'node:path';
import { modelArgument } from '../../models/model-argument.js';
import { checkCall, count, filePath, optionsOf, yesOrNo } from '../../plain/check-options.js';
import { checkEvalSizes, evenMargin } from '../../plain/eval-geometry.js';
import { CheckpointError, ConfigError } from '../../errors.js';
import { type ArchitectureEntry, architectureEntry } from '../../models/index.js';
import type { LoadedModel } from '../../weights/loaded-model.js';
import { removeWithin } from '../../files/guarded.js';
import { assertWritableFolder } from '../../files/output.js';
import { dinoV3Config } from './dinov3-config.js';
import { buildOnnx, onnxSize, writeBelow } from '../onnx/export-onnx.js';
import { encodeModel } from '../onnx/proto.js';
import { quantizeOnnx } from '../onnx/quantize.js';
import {
  checkReplaceable,
  CONFIG_FILE,
  marked,
  MODEL_FILE,
  PREPROCESSOR_FILE,
  QUANTIZED_FILE,
} from './earlier-export.js';

export interface TransformersOptions {
  /** Side in pixels of the central crop that the model sees. Default: the model's own. */
  imageSize?: number;
  /** Shorter side that images are resized to before; default 256/224 of the crop, so that the margins are whole pixels. */
  resize?: number;
  /** Let the ONNX files take images of any size, for other preprocessing; default false. */
  dynamicSize?: boolean;
  /** Also write the file with weights of 8 bits, where the network has products of matrices; default true. */
  quantized?: boolean;
}

export interface TransformersExport {
  folder: string;
  /** Bytes of each file in the folder, by name. */
  files: Record<string, number>;
  resize: number;
  crop: number;
}

/** transformers' number of PIL's bicubic filter. */
const BICUBIC = 3;

/** What Dinov2Config and Dinov2WithRegistersConfig have beyond a ViTConfig. */
function dinov2Config({ ffn, registers }: Extract<ArchitectureEntry, { family: 'dinov2' }>) {
  const own = { mlp_ratio: 4, layerscale_value: 1, use_swiglu_ffn: ffn === 'swiglu' };
  return registers === 0
    ? { model_type: 'dinov2', architectures: ['Dinov2Model'], ...own }
    : {
        model_type: 'dinov2_with_registers',
        architectures: ['Dinov2WithRegistersModel'],
        ...own,
        num_register_tokens: registers,
      };
}

const transformersOptions = optionsOf<TransformersOptions>(
  {},
  { imageSize: count(1), resize: count(1), dynamicSize: yesOrNo, quantized: yesOrNo },
);

/**
 * Writes the folder, each file whole or not at all; an earlier export in it is replaced, other files stay.
 * @throws ConfigError for invalid sizes, or a folder that has such files of a run or of another program; DataError for a link
 *   in it; CheckpointError when a file can't be written.
 */
export function exportTransformers(
  model: LoadedModel,
  folder: string,
  options: TransformersOptions = {},
): TransformersExport {
  checkCall(
    'exportTransformers()',
    modelArgument(model),
    ['folder', filePath, folder],
    ['options', transformersOptions, options],
  );
  const { architecture } = model;
  const { arch, embedDim, patchSize, imgSize, depth, numHeads } = architecture;
  const { normalization } = model.backbone;
  const crop = options.imageSize ?? imgSize;
  const resize = options.resize ?? evenMargin(crop);
  checkEvalSizes({ resize, crop }, architecture);
  const isDynamic = options.dynamicSize === true;
  const size = onnxSize(model, isDynamic ? { dynamicSize: true } : { imageSize: crop });
  const entry = architectureEntry(arch);
  if (
    entry === null ||
    entry.family === 'resnet' ||
    entry.family === 'resnet_class_attention' ||
    entry.family === 'xcit'
  ) {
    throw new ConfigError(
      `transformers export takes only vision transformers and ConvNeXts; this model is ${arch}`,
    );
  }
  if (entry.family === 'vit' && entry.stem === 'conv')
    throw new ConfigError(
      `transformers export: its ViTModel projects each patch at once, and ${arch} embeds patches by convolutions. ` +
        'Export ONNX or safetensors',
    );
  assertWritableFolder(folder, CheckpointError);
  checkReplaceable(folder, model.origin.files);
  const onnx = buildOnnx(model, {
    size,
    outputs: { tokens: 'last_hidden_state', classToken: 'pooler_output' },
  });
  const transformer = (kind: Record<string, unknown>): Record<string, unknown> => ({
    ...kind,
    hidden_size: embedDim,
    num_hidden_layers: depth,
    num_attention_heads: numHeads,
    hidden_act: 'gelu',
    layer_norm_eps: 1e-6,
    image_size: crop,
    patch_size: patchSize,
    num_channels: 3,
    qkv_bias: true,
  });
  const config =
    entry.family === 'vit'
      ? transformer({ model_type: 'vit', architectures: ['ViTModel'], intermediate_size: embedDim * 4 })
      : entry.family === 'dinov2'
        ? transformer(dinov2Config(entry))
        : dinoV3Config(entry, architecture, crop);
  const preprocessor = {
    image_processor_type: entry.family === 'dinov2' ? 'BitImageProcessor' : 'ViTImageProcessor',
    do_convert_rgb: true,
    do_resize: true,
    size: { shortest_edge: resize },
    resample: BICUBIC,
    do_center_crop: true,
    crop_size: { height: crop, width: crop },
    do_rescale: true,
    rescale_factor: 1 / 255,
    do_normalize: true,
    image_mean: normalization.mean,
    image_std: normalization.std,
  };
  const json = (value: Record<string, unknown>): Uint8Array =>
    new TextEncoder().encode(`${JSON.stringify(marked(value), null, 2)}\n`);
  const files: Record<string, number> = {};
  const write = (name: string, bytes: Uint8Array): void => {
    writeBelow(folder, name, bytes);
    files[name] = bytes.length;
  };
  write(MODEL_FILE, encodeModel(onnx));
  const quantized = options.quantized === false ? null : quantizeOnnx(onnx);
  if (quantized === null) {
    // a file of an earlier export would hold different weights
    const within = path.resolve(folder);
    removeWithin(path.join(within, QUANTIZED_FILE), { within, failure: CheckpointError });
  } else write(QUANTIZED_FILE, encodeModel(quantized));
  write(CONFIG_FILE, json(config));
  write(PREPROCESSOR_FILE, json(preprocessor));
  return { folder: path.resolve(folder), files, resize, crop };
}
