/**
 * The architecture of a backbone from the names and shapes of its tensors (those of the reference's vision_transformer.py,
 * of torchvision's ResNets and of facebookresearch/xcit), so that a lone weights file can be used without a word about
 * what it is.
 */
import { CheckpointError } from '../errors.js';

type ResNetName = 'resnet18' | 'resnet34' | 'resnet50' | 'resnet101';
type XCiTName = 'xcit_small_12_p16' | 'xcit_small_12_p8' | 'xcit_medium_24_p16' | 'xcit_medium_24_p8';

export interface Architecture {
  /** A name that buildBackbone() takes, vit for a transformer of another size; custom for one's own backbone. */
  arch: 'vit_tiny' | 'vit_small' | 'vit_base' | 'vit' | ResNetName | XCiTName | 'custom';
  /** Length of a feature. */
  embedDim: number;
  /** Blocks. */
  depth: number;
  /** Attention heads; 0 without attention. */
  numHeads: number;
  /** Side of a patch, pixels; 1 for what has no patches. */
  patchSize: number;
  /**
   * Side of the images that it was made for, pixels: by a vision transformer's position embeddings, else by its run's
   * crops, else 224, the reference's.
   */
  imgSize: number;
}

export type Shapes = ReadonlyMap<string, readonly number[]>;

/** The reference's sizes: [width, blocks, heads]. */
const KNOWN = {
  vit_tiny: [192, 12, 3],
  vit_small: [384, 12, 6],
  vit_base: [768, 12, 12],
} as const;

/** Blocks a stage and their kind (by the convolutions in one). */
const RESNETS: Readonly<Record<ResNetName, { layers: string; convolutions: number }>> = {
  resnet18: { layers: '2,2,2,2', convolutions: 2 },
  resnet34: { layers: '3,4,6,3', convolutions: 2 },
  resnet50: { layers: '3,4,6,3', convolutions: 3 },
  resnet101: { layers: '3,4,23,3', convolutions: 3 },
};

/** [width, blocks, patch]. */
const XCITS: Readonly<Record<XCiTName, readonly [number, number, number]>> = {
  xcit_small_12_p16: [384, 12, 16],
  xcit_small_12_p8: [384, 12, 8],
  xcit_medium_24_p16: [512, 24, 16],
  xcit_medium_24_p8: [512, 24, 8],
};
/** All four have 8. */
const XCIT_HEADS = 8;
/** What a backbone whose tensors don't tell was made for, as all of the reference's. */
const USUAL_SIZE = 224;

const count = (shapes: Shapes, name: (i: number) => string): number => {
  let i = 0;
  while (shapes.has(name(i))) i++;
  return i;
};

function inferResNet(shapes: Shapes, where: string): Architecture {
  const stages = [1, 2, 3, 4].map((stage) => count(shapes, (i) => `layer${stage}.${i}.conv1.weight`));
  const convolutions = count(shapes, (i) => `layer1.0.conv${i + 1}.weight`);
  const found = Object.entries(RESNETS).find(
    ([, known]) => known.layers === stages.join(',') && known.convolutions === convolutions,
  );
  if (found === undefined) {
    throw new CheckpointError(
      `${where} holds a ResNet of ${stages.join(', ')} blocks of ${convolutions} convolutions; those of ` +
        `${Object.keys(RESNETS).join(', ')} are known`,
    );
  }
  const depth = stages.reduce((sum, blocks) => sum + blocks, 0);
  const arch = found[0] as ResNetName;
  const embedDim = convolutions === 3 ? 2048 : 512;
  return { arch, embedDim, depth, numHeads: 0, patchSize: 1, imgSize: USUAL_SIZE };
}

function inferXCiT(shapes: Shapes, where: string): Architecture {
  const embedDim = shapes.get('cls_token')?.[2] ?? 0; // (1, 1, D)
  const depth = count(shapes, (i) => `blocks.${i}.attn.temperature`);
  // every second entry of the sequence halves the image, the others are GELUs
  const patchSize = 2 ** count(shapes, (i) => `patch_embed.proj.${2 * i}.0.weight`);
  const found = Object.entries(XCITS).find(
    ([, known]) => String(known) === String([embedDim, depth, patchSize]),
  );
  if (found === undefined) {
    throw new CheckpointError(
      `${where} holds an XCiT of width ${embedDim} with ${depth} blocks and patches of ${patchSize}; ` +
        `${Object.keys(XCITS).join(', ')} are known`,
    );
  }
  const arch = found[0] as XCiTName;
  return { arch, embedDim, depth, numHeads: XCIT_HEADS, patchSize, imgSize: USUAL_SIZE };
}

/** No model has more; a file may claim any width. */
const MAX_HEADS = 4096;

/** The reference's heads of a size of its own; null for others. */
const knownHeads = (width: number, depth: number): number | null =>
  Object.values(KNOWN).find(([w, d]) => w === width && d === depth)?.[2] ?? null;

/** Heads of 64 channels, as nearly as the width allows: what is taken when nothing says how many there are. */
export function guessHeads(width: number, depth: number): number {
  const known = knownHeads(width, depth);
  if (known !== null) return known;
  const off = (heads: number): number => Math.abs(Math.log(width / heads / 64));
  let best = 1;
  for (let heads = 2; heads <= Math.min(width, MAX_HEADS); heads++)
    if (width % heads === 0 && off(heads) < off(best)) best = heads;
  return best;
}

/** Whether the number of heads follows from the sizes: those of the reference's own models. */
export const tellsHeads = ({ arch, embedDim, depth }: Architecture): boolean =>
  arch !== 'vit' || embedDim === 1 || knownHeads(embedDim, depth) !== null;

/** Whether the tensors' own shapes tell `imgSize`. */
export const tellsImageSize = ({ arch }: Architecture): boolean => arch.startsWith('vit');

/**
 * @param shapes - Shapes by the reference's names.
 * @param numHeads - When known; no tensor's shape depends on it. Else the reference's for its sizes, or guessHeads().
 * @throws CheckpointError when the tensors are not those of a backbone that is known.
 */
export function inferArchitecture(shapes: Shapes, where: string, numHeads?: number): Architecture {
  if (shapes.has('layer1.0.conv1.weight')) return inferResNet(shapes, where);
  if (shapes.has('blocks.0.attn.temperature')) return inferXCiT(shapes, where);
  const problems: string[] = [];
  const need = (name: string, rank: number): readonly number[] => {
    const shape = shapes.get(name);
    if (shape === undefined) problems.push(`${name} is missing`);
    else if (shape.length !== rank)
      problems.push(`${name} has shape [${shape.join(', ')}], expected ${rank} numbers`);
    else return shape;
    return new Array<number>(rank).fill(0);
  };
  const [, positions = 0, width = 0] = need('pos_embed', 3); // (1, 1 + N, D)
  const [projected = 0, channels = 0, patchSize = 0, patchWidth = 0] = need('patch_embed.proj.weight', 4); // (D, 3, p, p)
  const depth = count(shapes, (i) => `blocks.${i}.attn.qkv.weight`);
  if (depth === 0) problems.push('blocks.0.attn.qkv.weight is missing');
  const side = Math.sqrt(positions - 1);
  if (problems.length === 0) {
    if (!Number.isInteger(side))
      problems.push(`pos_embed holds ${positions - 1} patches, which is not a square number`);
    if (width !== projected) problems.push(`pos_embed is ${width} wide, patch_embed ${projected}`);
    if (channels !== 3 || patchSize !== patchWidth)
      problems.push('patch_embed is not for square patches of RGB');
  }
  if (problems.length > 0) {
    const some = [...shapes.keys()].slice(0, 5).join(', ');
    throw new CheckpointError(
      `${where} holds no vision transformer of the reference's layout (nor a ResNet or XCiT): ${problems.join('; ')}. ` +
        `It has ${shapes.size} tensor${shapes.size === 1 ? '' : 's'}: ${some}${shapes.size > 5 ? ', ...' : ''}`,
    );
  }
  const heads = numHeads ?? guessHeads(width, depth);
  if (width % heads !== 0)
    throw new CheckpointError(`${where}: width ${width} can't be divided among ${heads} heads`);
  const known = Object.entries(KNOWN).find(([, sizes]) => String(sizes) === String([width, depth, heads]));
  const arch = known === undefined ? 'vit' : (known[0] as keyof typeof KNOWN);
  return { arch, embedDim: width, depth, numHeads: heads, patchSize, imgSize: side * patchSize };
}
