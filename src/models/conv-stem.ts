/**
 * Patch embedding by convolutions (Xiao et al. 2021, Early Convolutions Help Transformers See Better, arXiv 2106.14881): in
 * place of one projection of each patch, 3 x 3 convolutions of stride 2, each halving the image, and one of 1 x 1. Patches,
 * positions and attention stay what they are. Layers and names are those of MoCo v3's vit_conv_* (facebookresearch/moco-v3
 * vits.py ConvStem); the paper also leaves out one block, which `depth` says here.
 */
import { ShapeError } from '../errors.js';
import { BatchNorm, Conv2d, Layer, ReLU, Sequential } from '../nn/index.js';
import type { Tensor } from '../torch/index.js';
import { convStemProblem } from './architectures.js';

export class ConvStem extends Layer {
  readonly proj: Sequential;
  readonly patchSize: number;
  readonly inChans: number;

  /** @throws ShapeError for a patch that is not a power of two, or a width that can't be halved so often. */
  constructor(patchSize: number, embedDim: number, inChans = 3) {
    super();
    const problem = convStemProblem(patchSize, embedDim);
    if (problem !== null) throw new ShapeError(`ConvStem: ${problem}`);
    this.patchSize = patchSize;
    this.inChans = inChans;
    const halvings = Math.log2(patchSize);
    const widths = Array.from({ length: halvings }, (_, i) => embedDim / 2 ** (halvings - 1 - i));
    this.proj = new Sequential([
      ...widths.flatMap((width, i) => [
        new Conv2d(widths[i - 1] ?? inChans, width, 3, { stride: 2, padding: 1, bias: false }),
        new BatchNorm(width),
        new ReLU(),
      ]),
      new Conv2d(embedDim, embedDim, 1),
    ]);
  }

  /**
   * (B, inChans, H, W) to (B, floor(H / P) * floor(W / P), C): pixels that don't fill a patch at the right or bottom edge are
   * dropped.
   */
  override forward(images: Tensor): Tensor {
    const { patchSize } = this;
    const whole = (axis: number): number => images.size(axis) - (images.size(axis) % patchSize);
    const fitting = images.narrow(2, 0, whole(2)).narrow(3, 0, whole(3));
    // the layout in which a CPU convolves small images fastest
    const laidOut = fitting.clone({ memoryFormat: 'channels_last' });
    return this.proj.forward(laidOut).flatten(2).transpose(1, 2);
  }
}
