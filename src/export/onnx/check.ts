/**
 * Compares an ONNX file with the model that it was made from, in onnxruntime-node where that optional package is installed
 * (nothing is downloaded).
 */
import type * as Runtime from 'onnxruntime-node';
import { modelArgument } from '../../models/model-argument.js';
import { being, checkCall, count, filePath, optionsOf, yesOrNo } from '../../plain/check-options.js';
import { CheckpointError } from '../../errors.js';
import {
  type Backbone,
  DinoV3Transformer,
  hasTokens,
  isAttentive,
  patchTokens,
  VisionTransformer,
} from '../../models/index.js';
import { fromTypedArray, inferenceMode, scope, type Tensor } from '../../torch/index.js';
import type { LoadedModel } from '../../weights/loaded-model.js';

export interface OnnxCheck {
  /** Largest difference of an element from ours, by output. */
  differences: Record<string, number>;
  /** Smallest cosine similarity of a row (a token's feature, a row of attention) with ours; NaN where a value is. */
  cosine: number;
}

/** What an exact file may differ by, as a share of the output's largest magnitude or of 1. */
const TOLERANCE = 1e-4;
/** Weights in 8 bits nearly always stay well above it; a graph that computes something else does not. */
const LEAST_COSINE = 0.9;

/** Why a file whose weights were rounded to so many bits is of no use; null when it is, or was not checked. */
export function tooFar(check: OnnxCheck | null, bits: number): string | null {
  // written so that NaN is too far
  if (check === null || check.cosine >= LEAST_COSINE) return null;
  const cosine = Number.isNaN(check.cosine) ? 'not a number' : check.cosine.toFixed(2);
  return `${bits}-bit weights change this model's features too much (cosine similarity ${cosine}; expected ${LEAST_COSINE} or more)`;
}

/** What else a file computes: (B, ...) from images (B, 3, H, W), by the name of the output. */
export type OtherOutputs = Readonly<Record<string, (images: Tensor) => Tensor>>;

/** The model's own value of each output that our files have. */
function ourOutput(backbone: Backbone, name: string, images: Tensor, others: OtherOutputs): Tensor {
  const other = Object.hasOwn(others, name) ? others[name] : undefined;
  if (other !== undefined) return other(images);
  if (name === 'class_token' || name === 'pooler_output' || name === 'feature')
    return backbone.forward(images); // (B, D)
  if (name === 'class_attention' && isAttentive(backbone)) return backbone.getLastClassAttention(images); // (B, heads, 1, 1 + N)
  if (hasTokens(backbone)) {
    if (name === 'last_hidden_state') return backbone.forwardTokens(images); // (B, prefix + N, D)
    if (name === 'patch_tokens') return patchTokens(backbone, backbone.forwardTokens(images)); // (B, N, D)
  }
  if (
    name === 'attention' &&
    (backbone instanceof VisionTransformer || backbone instanceof DinoV3Transformer)
  ) {
    return backbone.getLastSelfAttention(images); // (B, heads, prefix + N, prefix + N)
  }
  throw new Error(`internal: the file has an output ${name}`);
}

/** Smallest cosine similarity of rows of `width` values. */
function smallestCosine(a: Float32Array, b: Float32Array, width: number): number {
  let smallest = 1;
  for (let start = 0; start < a.length; start += width) {
    let [product, aa, bb] = [0, 0, 0];
    for (let i = start; i < start + width; i++) {
      product += a[i]! * b[i]!;
      aa += a[i]! ** 2;
      bb += b[i]! ** 2;
    }
    smallest = Math.min(smallest, product / Math.sqrt(aa * bb || 1));
  }
  return smallest;
}

/** Smooth waves of as many colours: like a photograph, most of their energy is in low frequencies. */
export function wavyImages(batch: number, height: number, width: number): Float32Array {
  const values = new Float32Array(batch * 3 * height * width);
  let i = 0;
  for (let plane = 0; plane < batch * 3; plane++) {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const slow = Math.sin((x / width) * (3 + plane) + plane) * Math.cos((y / height) * (5 + plane));
        values[i++] = 1.5 * slow + 0.3 * Math.sin(x * y + plane);
      }
    }
  }
  return values;
}

const checkOptions = optionsOf<Parameters<typeof checkOnnx>[2]>(
  {
    imageSize: being(
      '[height, width] in pixels',
      (value) =>
        Array.isArray(value) &&
        value.length === 2 &&
        value.every((side) => Number.isInteger(side) && side > 0),
    ),
  },
  { batch: count(1), isExact: yesOrNo },
);

/**
 * Runs an ONNX file in onnxruntime on made-up images and compares each output with ours.
 *
 * @param options - `isExact: false` measures a file whose weights were rounded (fp16, q8) without judging it.
 * @returns null when onnxruntime-node is not installed.
 * @throws CheckpointError when onnxruntime can't open the file, an output's shape is not ours, or an exact file's output is
 *   off by more than 1e-4 of its largest value.
 */
export async function checkOnnx(
  model: LoadedModel,
  file: string,
  options: {
    /** [height, width] in pixels. */
    imageSize: readonly [height: number, width: number];
    batch?: number;
    isExact?: boolean;
  },
): Promise<OnnxCheck | null> {
  checkCall(
    'checkOnnx()',
    modelArgument(model),
    ['file', filePath, file],
    ['options', checkOptions, options],
  );
  return compareOnnx(model, file, options);
}

/** checkOnnx() for a file that computes more than the model does. @throws As checkOnnx(). */
export async function compareOnnx(
  model: LoadedModel,
  file: string,
  options: NonNullable<Parameters<typeof checkOnnx>[2]>,
  others: OtherOutputs = {},
): Promise<OnnxCheck | null> {
  let runtime: typeof Runtime;
  try {
    runtime = await import('onnxruntime-node');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND') return null;
    throw error;
  }
  const { imageSize, batch = 2, isExact = true } = options;
  const shape = [batch, 3, ...imageSize];
  const pixels = wavyImages(batch, ...(imageSize as [number, number]));
  const session = await runtime.InferenceSession.create(file, { logSeverityLevel: 3 }).catch(
    (error: unknown) => {
      throw new CheckpointError(`${file} can't be opened by onnxruntime: ${(error as Error).message}`, {
        cause: error,
      });
    },
  );
  try {
    const results = await session.run({ pixel_values: new runtime.Tensor('float32', pixels, shape) });
    const differences: Record<string, number> = {};
    let cosine = 1;
    for (const [name, result] of Object.entries(results)) {
      const { values, dims } = scope(() =>
        inferenceMode(() => {
          const own = ourOutput(model.backbone, name, fromTypedArray(pixels, shape).to(model.device), others);
          return { values: own.to('cpu').contiguous().toTypedArray() as Float32Array, dims: own.shape };
        }),
      );
      if (result.dims.join() !== dims.join()) {
        throw new CheckpointError(
          `${file}: onnxruntime gives ${name} the shape [${result.dims.join(', ')}], ours is [${dims.join(', ')}]`,
        );
      }
      const theirs = result.data as Float32Array;
      let largest = 1;
      let difference = 0;
      for (let i = 0; i < values.length; i++) {
        largest = Math.max(largest, Math.abs(values[i]!));
        difference = Math.max(difference, Math.abs(values[i]! - theirs[i]!));
      }
      // written so that NaN is refused too
      if (isExact && !(difference <= TOLERANCE * largest)) {
        throw new CheckpointError(
          `${file}: onnxruntime's ${name} is off by ${difference}; the limit is ${TOLERANCE * largest}`,
        );
      }
      differences[name] = difference;
      const alike = smallestCosine(values, theirs, dims.at(-1) as number);
      if (isExact && !(alike >= LEAST_COSINE))
        throw new CheckpointError(
          `internal: ${file}: onnxruntime's ${name} does not match ours (cosine similarity ${alike.toFixed(2)}): ` +
            'do not use this file, and report it',
        );
      cosine = Math.min(cosine, alike);
    }
    return { differences, cosine };
  } finally {
    await session.release();
  }
}
