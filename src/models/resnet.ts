/**
 * ResNet (He et al. 2016) as torchvision has it (models/resnet.py: the stride of a bottleneck on its 3 x 3 convolution),
 * with its names and its initial weights, but without the classifier, which the reference replaces by the identity
 * (main_dino.py, utils.py MultiCropWrapper).
 */
import { ShapeError } from '../errors.js';
import { BatchNorm, checkpoint, Conv2d, kaimingNormal_, Layer, Linear, Sequential } from '../nn/index.js';
import { isAutocast, ops, scope, type Tensor } from '../torch/index.js';
import { Backbone } from './backbone.js';

/** Channels inside the blocks of the first stage, as torchvision has them; each stage has twice as many as the one before. */
const WIDTH = 64;

/** A skip connection that changes size: 1 x 1 convolution and norm. */
export function skip(inChannels: number, outChannels: number, stride: number): Sequential | null {
  if (stride === 1 && inChannels === outChannels) return null;
  return new Sequential([
    new Conv2d(inChannels, outChannels, 1, { stride, bias: false }),
    new BatchNorm(outChannels),
  ]);
}

/** Two 3 x 3 convolutions: resnet18 and resnet34. */
class BasicBlock extends Layer {
  static readonly expansion = 1;
  readonly conv1: Conv2d;
  readonly bn1: BatchNorm;
  readonly conv2: Conv2d;
  readonly bn2: BatchNorm;
  readonly downsample: Sequential | null;

  constructor(inChannels: number, width: number, stride: number, downsample: Sequential | null) {
    super();
    this.conv1 = new Conv2d(inChannels, width, 3, { stride, padding: 1, bias: false });
    this.bn1 = new BatchNorm(width);
    this.conv2 = new Conv2d(width, width, 3, { padding: 1, bias: false });
    this.bn2 = new BatchNorm(width);
    this.downsample = downsample;
  }

  /** (B, C, H, W) to (B, width, H / stride, W / stride), rounded up. */
  override forward(x: Tensor): Tensor {
    return scope(() => {
      const inner = this.bn1.relu(this.conv1.forward(x));
      return this.bn2.relu(this.conv2.forward(inner), this.downsample?.forward(x) ?? x);
    });
  }
}

/** 1 x 1, 3 x 3, 1 x 1: resnet50 and resnet101. */
class Bottleneck extends Layer {
  static readonly expansion = 4;
  readonly conv1: Conv2d;
  readonly bn1: BatchNorm;
  readonly conv2: Conv2d;
  readonly bn2: BatchNorm;
  readonly conv3: Conv2d;
  readonly bn3: BatchNorm;
  readonly downsample: Sequential | null;

  constructor(inChannels: number, width: number, stride: number, downsample: Sequential | null) {
    super();
    const outChannels = width * Bottleneck.expansion;
    this.conv1 = new Conv2d(inChannels, width, 1, { bias: false });
    this.bn1 = new BatchNorm(width);
    this.conv2 = new Conv2d(width, width, 3, { stride, padding: 1, bias: false });
    this.bn2 = new BatchNorm(width);
    this.conv3 = new Conv2d(width, outChannels, 1, { bias: false });
    this.bn3 = new BatchNorm(outChannels);
    this.downsample = downsample;
  }

  /** (B, C, H, W) to (B, 4 * width, H / stride, W / stride), rounded up. */
  override forward(x: Tensor): Tensor {
    return scope(() => {
      const first = this.bn1.relu(this.conv1.forward(x));
      const second = this.bn2.relu(this.conv2.forward(first));
      return this.bn3.relu(this.conv3.forward(second), this.downsample?.forward(x) ?? x);
    });
  }
}

export interface ResNetOptions {
  block: 'basic' | 'bottleneck';
  /** Blocks in each of the four stages. */
  layers: readonly [number, number, number, number];
  /** Channels inside the blocks of the first stage; default 64. */
  width?: number;
  /**
   * How images enter: `large` halves them twice (7 x 7 convolution and pooling, torchvision's), `small` keeps their size
   * (3 x 3 convolution), as He et al. 2016 (section 4.2) and Chen et al. 2020 (SimCLR, appendix B.9) have it for CIFAR.
   * Default `large`.
   */
  stem?: 'large' | 'small';
  /** Channels of the images; default 3. */
  inChans?: number;
}

export class ResNet extends Backbone {
  readonly conv1: Conv2d;
  readonly bn1: BatchNorm;
  readonly layer1: Sequential;
  readonly layer2: Sequential;
  readonly layer3: Sequential;
  readonly layer4: Sequential;
  /** Eight times the width, with bottlenecks four times more. */
  override readonly embedDim: number;
  readonly #stem: 'large' | 'small';

  constructor({ block, layers, width = WIDTH, stem = 'large', inChans = 3 }: ResNetOptions) {
    super();
    const Block = block === 'basic' ? BasicBlock : Bottleneck;
    this.#stem = stem;
    this.conv1 =
      stem === 'large'
        ? new Conv2d(inChans, width, 7, { stride: 2, padding: 3, bias: false })
        : new Conv2d(inChans, width, 3, { padding: 1, bias: false });
    this.bn1 = new BatchNorm(width);
    let channels = width;
    const stages = layers.map((count, stage) => {
      const inner = width * 2 ** stage;
      const blocks = Array.from({ length: count }, (_, i) => {
        const stride = stage > 0 && i === 0 ? 2 : 1;
        // made before its block, so that both draw their initial weights in torchvision's order
        const downsample = i === 0 ? skip(channels, inner * Block.expansion, stride) : null;
        const made = new Block(channels, inner, stride, downsample);
        channels = inner * Block.expansion;
        return made;
      });
      return new Sequential(blocks);
    });
    [this.layer1, this.layer2, this.layer3, this.layer4] = stages as [
      Sequential,
      Sequential,
      Sequential,
      Sequential,
    ];
    this.embedDim = channels;
    // the classifier that torchvision makes and DINO removes draws from the generator too
    new Linear(channels, 1000).dispose();
    for (const [, part] of this.namedModules()) if (part instanceof Conv2d) kaimingNormal_(part.weight);
  }

  /**
   * @param images - (B, 3, H, W), normalized; any H and W.
   * @returns (B, embedDim), the mean over the last stage's positions.
   * @throws ShapeError for anything but a batch of images; in training also for one value per channel (one image of at most
   *   32 x 32 pixels).
   */
  override forward(images: Tensor): Tensor {
    const wanted = this.conv1.weight.size(1);
    if (images.ndim !== 4 || images.size(1) !== wanted) {
      throw new ShapeError(`ResNet: expected images (B, ${wanted}, H, W), got ${images.toString()}`);
    }
    let x = scope(() => {
      const isLarge = this.#stem === 'large';
      // a seventh less time on a CPU, and what tensor cores want; on a CPU in float32 the large stem keeps the layout whose
      // roundings its fixtures have
      const keeps = isLarge && images.device === 'cpu' && !isAutocast();
      const laidOut = keeps ? images : images.clone({ memoryFormat: 'channels_last' });
      const entered = this.bn1.relu(this.conv1.forward(laidOut));
      return isLarge ? ops.maxPool2d(entered, [3, 3], [2, 2], [1, 1]) : entered;
    }); // (B, width, H / 4, W / 4), with a small stem (B, width, H, W)
    for (const stage of [this.layer1, this.layer2, this.layer3, this.layer4]) {
      x = checkpoint((input) => stage.forward(input), x);
    } // (B, embedDim, H / 32, W / 32), with a small stem H / 8
    return ops.adaptiveAvgPool2d(x, [1, 1]).flatten(1);
  }
}
