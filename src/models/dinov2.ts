/**
 * DINOv2's vision transformer (Oquab et al. 2023, arXiv 2304.07193; facebookresearch/dinov2 models/vision_transformer.py),
 * with registers too (Darcet et al. 2023, arXiv 2309.16588): the reference's with LayerScale, in the giant a gated
 * perceptron, and register tokens between class token and patches, which have no positions. Same names and numbers. What
 * differs: masks are not taken, since only its own training has them, and LayerScale starts at that training's 1e-5.
 */
import { ShapeError } from '../errors.js';
import { notWhole } from '../plain/eval-geometry.js';
import { noGrad, ops, Parameter, type Tensor, zeros } from '../torch/index.js';
import { VisionTransformer, type VisionTransformerOptions } from './vision-transformer.js';

/** Initial values: ssl_default_config.yaml's `layerscale`, and the deviation of class token and registers. */
const LAYER_SCALE = 1e-5;
const TOKEN_STD = 1e-6;

export interface Dinov2Options extends Omit<VisionTransformerOptions, 'layerScale'> {
  /** R, register tokens; default 0. With them, positions are interpolated with antialiasing and without an offset. */
  registers?: number;
}

export class Dinov2 extends VisionTransformer {
  /** (1, R, C) */
  readonly register_tokens: Parameter | null;
  /** (1, C), which takes the place of masked patches in the original's training. A buffer: nothing here trains it. */
  readonly mask_token: Tensor;
  override readonly prefixTokens: number;
  readonly wholePatches = true;

  /** @throws ShapeError as VisionTransformer does. */
  constructor({ registers = 0, ...options }: Dinov2Options) {
    super({ ...options, layerScale: LAYER_SCALE });
    const { embedDim } = options;
    this.prefixTokens = 1 + registers;
    this.register_tokens = registers === 0 ? null : new Parameter(zeros([1, registers, embedDim]));
    this.mask_token = zeros([1, embedDim]);
    noGrad(() => {
      this.cls_token.normal_(0, TOKEN_STD);
      this.register_tokens?.normal_(0, TOKEN_STD);
    });
  }

  /**
   * Class token, registers and patches, (B, 1 + R + N, C).
   * @throws ShapeError for anything but a batch of images whose sides are multiples of a patch.
   */
  override prepareTokens(images: Tensor): Tensor {
    const { patchSize } = this;
    const [, , height = 0, width = 0] = images.shape;
    const wrong = [height, width].find((side) => side % patchSize !== 0);
    if (wrong !== undefined)
      throw new ShapeError(
        `${this.constructor.name}: images of ${height} x ${width} pixels; ${notWhole(wrong, patchSize)}`,
      );
    const tokens = super.prepareTokens(images); // (B, 1 + N, C)
    if (this.register_tokens === null) return tokens;
    const registers = this.register_tokens.expand([tokens.size(0), -1, -1]); // (B, R, C)
    return ops.cat([tokens.slice(1, 0, 1), registers, tokens.slice(1, 1)], 1);
  }

  /** The releases with registers interpolate with antialiasing, those without as the reference does. */
  protected override resizePositions(grid: Tensor, rows: number, columns: number): Tensor {
    if (this.register_tokens === null) return super.resizePositions(grid, rows, columns);
    return ops._upsampleBicubic2dAa(grid, [rows, columns], false);
  }
}
