/** Trained weights as a model ready for use. */
import { callback, checkCall, count, filePath, oneOf, optionsOf, text } from './plain/check-options.js';
import type { EncodedImage } from './data/index.js';
import { CheckpointError } from './errors.js';
import type { AttentionOptions, AttentionResult } from './explain/attention.js';
import type { EmbedBatch, Embeddings, EmbedOptions, ImageSource } from './eval/embed.js';
import { type Backbone, type BackboneFactory, buildBackbone } from './models/index.js';
import { withoutInit } from './nn/index.js';
import { assertDevice, availableDevices } from './torch/index.js';
import { type Architecture, backboneOptions } from './weights/architecture.js';
import { type NormalizationName, NORMALIZATIONS } from './models/dinov3-architectures.js';
import type { LoadedModel, ModelOrigin } from './weights/loaded-model.js';
import { readNetwork } from './weights/network.js';

export interface LoadModelOptions {
  /**
   * `teacher` (default, the better one after training) or `student`; for a file with other networks, part of their tensors'
   * names, such as `momentum_encoder`.
   */
  checkpointKey?: string;
  /** `auto` (default: the fastest available), `cpu`, `cuda:0`, `mps`. */
  device?: string;
  /** Attention heads of a lone weights file that doesn't say them; no tensor's shape tells them. */
  numHeads?: number;
  /**
   * How images are normalized, for weights of DINOv3 that don't say what they were trained on: `sat493m` for satellite images,
   * `imagenet` (the default) for web images.
   */
  normalization?: NormalizationName;
  /** Builder of your own backbone, the one that train() was given. */
  backbone?: BackboneFactory;
  /** Called with each possible problem of the weights, such as guessed heads; they are also in Model.origin. */
  onWarning?: (message: string) => void;
}

/** A frozen backbone. Dispose of it (or leave it to the garbage collector) when done. */
export class Model implements LoadedModel, Disposable {
  constructor(
    readonly backbone: Backbone,
    readonly architecture: Architecture,
    /** Where the weights came from. */
    readonly file: string,
    readonly device: string,
    readonly origin: ModelOrigin = {
      ...{
        checkpointKey: 'teacher',
        headsAreGuess: false,
        givenHeads: null,
        files: [file],
        warnings: [],
        notes: [],
      },
    },
  ) {}

  /** Width of the class token's features. */
  get embedDim(): number {
    return this.architecture.embedDim;
  }

  /**
   * Features of images: a folder or a list file, the bytes of one image, a list of paths and bytes, or the result of
   * listImages(); see embed() in src/eval/embed.ts.
   */
  async embed(images: ImageSource, options: EmbedOptions = {}): Promise<Embeddings> {
    const { embed } = await import('./eval/embed.js');
    return embed(this, images, options);
  }

  /** The same, batch by batch: `for await (const batch of model.embedBatches('photos')) ...` */
  async *embedBatches(images: ImageSource, options: EmbedOptions = {}): AsyncGenerator<EmbedBatch, void> {
    const { embedBatches } = await import('./eval/embed.js');
    yield* embedBatches(this, images, options);
  }

  /**
   * Attention of the last block's class token over an image (a path, or the bytes of a file); see src/explain/attention.ts.
   */
  async attention(image: EncodedImage, options: AttentionOptions = {}): Promise<AttentionResult> {
    const { attention } = await import('./explain/attention.js');
    return attention(this, image, options);
  }

  dispose(): void {
    this.backbone.dispose();
  }
  [Symbol.dispose](): void {
    this.dispose();
  }
}

const loadOptions = optionsOf<LoadModelOptions>(
  {},
  {
    checkpointKey: text,
    device: text,
    numHeads: count(1),
    normalization: oneOf(NORMALIZATIONS),
    backbone: callback,
    onWarning: callback,
  },
);

/**
 * Loads WEIGHTS: a run folder, a checkpoint folder, a .safetensors file, a PyTorch file (.pth; official backbones and full
 * checkpoints, timm's), or a Hugging Face folder. The architecture follows from the tensors' shapes, and where these do
 * not tell, from the file's own metadata.
 *
 * @throws CheckpointError when there are no weights, or they are incomplete: every missing, extra and wrongly shaped
 *   tensor is named. EngineError when the device is not available.
 */
export function loadModel(weights: string, options: LoadModelOptions = {}): Model {
  checkCall('loadModel()', ['weights', filePath, weights], ['options', loadOptions, options]);
  const device = options.device ?? 'auto';
  if (device !== 'auto') assertDevice(device);
  const { backbone: factory, onWarning, ...which } = options;
  const network = readNetwork(weights, { ...which, custom: factory !== undefined });
  const { located, architecture: found, backbone: state } = network;
  const { arch, imgSize } = found;
  const ofTheRun = located.settings ?? {};
  const backbone =
    factory === undefined
      ? withoutInit(() => buildBackbone(backboneOptions(found)))
      : factory({ ...ofTheRun, arch, imgSize, dropPathRate: 0, patchDropRate: 0 });
  const architecture = { ...found, embedDim: backbone.embedDim };
  try {
    backbone.loadStateDict(state);
  } catch (error) {
    throw new CheckpointError(`${located.file}: ${(error as Error).message}`, { cause: error });
  }
  for (const tensor of state.values()) tensor.dispose();
  for (const parameter of backbone.parameters()) parameter.requiresGrad = false;
  const { checkpointKey, file, headsAreGuess, notes, warnings } = network;
  for (const warning of warnings) onWarning?.(warning);
  const place = device === 'auto' ? (availableDevices()[0] ?? 'cpu') : device;
  backbone.to(place);
  backbone.eval();
  const givenHeads = options.numHeads ?? null;
  const origin: ModelOrigin = {
    checkpointKey,
    headsAreGuess,
    givenHeads,
    files: file.files,
    notes,
    warnings,
  };
  return new Model(backbone, architecture, located.file, place, origin);
}
