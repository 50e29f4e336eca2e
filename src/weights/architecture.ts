/**
 * The architecture of a backbone from the names and shapes of its tensors (the table is src/models/architectures.ts), so
 * that a weights file can be used without being told what it is.
 */
import { CheckpointError } from '../errors.js';
import type { TrainSettings } from '../run/settings.js';
import {
  ARCHITECTURES,
  architectureEntry,
  type ArchitectureName,
  architectureNames,
  FAMILIES,
  type Family,
  type Shapes,
  ownSizes,
} from '../models/index.js';

export interface Architecture {
  /** A name that buildBackbone() takes, `vit` for a transformer of another size; `custom` for your own backbone. */
  arch: Exclude<ArchitectureName, `deit_${string}`> | 'custom';
  /** Length of a feature. */
  embedDim: number;
  /** Blocks. */
  depth: number;
  /** Attention heads; 0 without attention. */
  numHeads: number;
  /** Side of a patch, pixels; 1 without patches. */
  patchSize: number;
  /**
   * Side of the images that it was made for, pixels, which commands take by default: from a vision transformer's position
   * embeddings, else from its run's crops, else 224 as in the reference.
   */
  imgSize: number;
  /** Side of the images that its position embeddings were learned for, where that is not `imgSize`. */
  positionsSize?: number;
  /** Only whole patches are taken; without it, pixels at the right and bottom that don't fill one are dropped. */
  wholePatches?: true;
  /** Channels of images that are taken as they are, at up to 16 bits; without it, all images become 8-bit RGB. */
  channels?: number;
  /** Mean and standard deviation of each of these channels, where white is 1. */
  mean?: readonly number[];
  std?: readonly number[];
}

/** What an architecture says of the images whose channels are taken as they are; nothing for 8-bit RGB. */
export const channelsOf = ({
  channels,
  mean,
  std,
}: {
  channels?: number | undefined;
  mean?: readonly number[] | undefined;
  std?: readonly number[] | undefined;
}): { channels?: number; mean?: number[]; std?: number[] } =>
  channels === undefined || mean === undefined || std === undefined
    ? {}
    : { channels, mean: [...mean], std: [...std] };

/** What a backbone was made for when neither its tensors nor its run say: the reference's size. */
const USUAL_SIZE = 224;
/** More than any model has; a file may claim any width. */
const MAX_HEADS = 4096;

/** The family's entry; null for a custom backbone. */
export const familyOf = ({ arch }: Architecture) => {
  const entry = architectureEntry(arch);
  return entry === null ? null : FAMILIES[entry.family];
};

/** Heads of a vision transformer of one of the reference's sizes; null for other sizes. */
const knownHeads = (width: number, depth: number): number | null =>
  Object.values(ARCHITECTURES).find(
    (entry) => entry.family === 'vit' && entry.embedDim === width && entry.depth === depth,
  )?.numHeads ?? null;

/** Heads of 64 channels, as nearly as the width allows, for files that do not say how many there are. */
export function guessHeads(width: number, depth: number): number {
  const known = knownHeads(width, depth);
  if (known !== null) return known;
  const off = (heads: number): number => Math.abs(Math.log(width / heads / 64));
  let best = 1;
  for (let heads = 2; heads <= Math.min(width, MAX_HEADS); heads++)
    if (width % heads === 0 && off(heads) < off(best)) best = heads;
  return best;
}

/** Whether any number of heads that divides the width is possible. */
export const takesHeads = (architecture: Architecture): boolean =>
  familyOf(architecture)?.takesHeads ?? false;

/** Whether the number of heads follows from the tensors or the sizes, such as those of the reference's own models. */
export const tellsHeads = (architecture: Architecture): boolean => {
  const { arch, embedDim, depth } = architecture;
  if (!takesHeads(architecture) || !ownSizes(arch).includes('numHeads')) return true;
  return embedDim === 1 || knownHeads(embedDim, depth) !== null;
};

/** Whether it has learned position embeddings, whose shape tells the size of images that they are for. */
export const learnsPositions = (architecture: Architecture): boolean =>
  familyOf(architecture)?.learnsPositions ?? false;

/** `imgSize` as a run's settings or a file's record tell it, where no position embeddings do. */
export function trainedSize(
  architecture: Architecture,
  settings: Pick<TrainSettings, 'imgSize' | 'globalCropsSize'> | null,
  recorded: number | null = null,
): number {
  if (learnsPositions(architecture) && architecture.positionsSize === undefined) return architecture.imgSize;
  // where positions have their own size, it is that of the usual images, as where there are none
  const usual = learnsPositions(architecture) ? settings?.globalCropsSize : settings?.imgSize;
  return usual ?? settings?.globalCropsSize ?? recorded ?? architecture.imgSize;
}

/** What buildBackbone() makes this architecture from. */
export const backboneOptions = (architecture: Architecture) => {
  const { arch, patchSize, positionsSize: imgSize = architecture.imgSize } = architecture;
  const sizes: Partial<Record<'embedDim' | 'depth' | 'numHeads', number>> = Object.fromEntries(
    ownSizes(arch).map((name) => [name, architecture[name]]),
  );
  return { arch, patchSize, imgSize, ...sizes, ...channelsOf(architecture) };
};

/**
 * @param shapes - Shapes by the reference's names.
 * @param numHeads - If known; no tensor's shape depends on it. Default: guessHeads().
 * @throws CheckpointError when the tensors are not those of a known backbone.
 */
export function inferArchitecture(shapes: Shapes, where: string, numHeads?: number): Architecture {
  const [family, { read, takesHeads, wholePatches }] = Object.entries(FAMILIES).find(([, { matches }]) =>
    matches(shapes),
  ) as [Family, (typeof FAMILIES)[Family]];
  const { sizes, imgSize, positionsSize, described, problems } = read(shapes);
  if (problems.length > 0) {
    const some = [...shapes.keys()].slice(0, 5).join(', ');
    throw new CheckpointError(
      `${where} does not hold a vision transformer with the reference's names (nor a ResNet, XCiT or ConvNeXt): ` +
        `${problems.join('; ')}. ` +
        `It has ${shapes.size} tensor${shapes.size === 1 ? '' : 's'}: ${some}${shapes.size > 5 ? ', ...' : ''}`,
    );
  }
  const { embedDim = 0, depth = 0, patchSize = 1 } = sizes;
  const heads = takesHeads ? (numHeads ?? guessHeads(embedDim, depth)) : undefined;
  if (heads !== undefined && embedDim % heads !== 0)
    throw new CheckpointError(`${where}: width ${embedDim} can't be divided among ${heads} heads`);
  const told = Object.entries({ ...sizes, ...(heads === undefined ? {} : { numHeads: heads }) });
  const members = architectureNames.filter((name) => ARCHITECTURES[name].family === family);
  const arch = members.find((name) => {
    const entry = new Map<string, unknown>(Object.entries(ARCHITECTURES[name]));
    // what a user may choose is null in the table
    return told.every(
      ([field, value]) => entry.get(field) === null || String(entry.get(field)) === String(value),
    );
  });
  if (arch === undefined)
    throw new CheckpointError(`${where} holds ${described}; known are ${members.join(', ')}`);
  const entry = ARCHITECTURES[arch];
  return {
    arch: arch as Architecture['arch'],
    embedDim: entry.embedDim ?? embedDim,
    depth: entry.depth ?? depth,
    numHeads: entry.numHeads ?? heads ?? sizes.numHeads ?? 0,
    patchSize: entry.patchSize ?? patchSize,
    imgSize: imgSize ?? USUAL_SIZE,
    ...(positionsSize === undefined ? {} : { positionsSize }),
    ...(wholePatches === undefined ? {} : { wholePatches }),
  };
}
