/**
 * Starting from existing weights: `--init` takes a backbone, or backbone and head, from any file that loadModel() reads, for
 * both student and teacher; the rest of the training starts fresh.
 */
import { callback, checkCall, count, filePath, oneOf, text, yesOrNo } from '../plain/check-options.js';
import { z } from 'zod';
import type { MultiCropWrapper } from '../dino/index.js';
import { CheckpointError } from '../errors.js';
import type { Tensor } from '../torch/index.js';
import { expandChannels, NORMALIZATIONS, sizedName, takesChannels } from '../models/index.js';
import { type Architecture, backboneOptions } from '../weights/architecture.js';
import { type NetworkOptions, openNetwork, readNetwork } from '../weights/network.js';
import type { PartialSettings, TrainSettings } from '../run/settings.js';

/** The settings that decide what `--init` reads. */
export type InitSettings = Pick<
  PartialSettings,
  'init' | 'initCheckpointKey' | 'initNormalization' | 'initWithHead' | 'numHeads'
>;

/** Which network of `--init` is meant, and what the file doesn't say. */
const networkOptions = ({
  initCheckpointKey,
  initNormalization,
  numHeads,
}: InitSettings): NetworkOptions => ({
  ...{ checkpointKey: initCheckpointKey, normalization: initNormalization, numHeads, isInit: true },
});

type Shapes = ReadonlyMap<string, readonly number[]>;

/** The architecture's own settings; position embeddings keep the grid that they were learned on. */
export function settingsOfArchitecture(architecture: Architecture): Partial<TrainSettings> {
  return backboneOptions(architecture);
}

/**
 * The head's settings, read off its tensors' shapes. One without prototypes was trained with SimDINO's loss.
 * @param sources - The file's name of each of DINOHead's tensors; empty without a head.
 * @param fileShapes - By the file's names.
 */
export function settingsOfHead(
  sources: ReadonlyMap<string, string>,
  fileShapes: Shapes,
): Partial<TrainSettings> {
  const shapes = new Map([...sources].map(([name, from]) => [name, fileShapes.get(from) ?? []]));
  const placeOf = (name: string): number => Number(/\d+/.exec(name)?.[0] ?? 0);
  const layers = [...shapes]
    .filter(([name, shape]) => /^mlp\..*weight$/.test(name) && shape.length === 2)
    .sort(([a], [b]) => placeOf(a) - placeOf(b));
  const headBottleneckDim = layers.at(-1)?.[1][0]; // of (bottleneck, hidden)
  if (headBottleneckDim === undefined) return {};
  const outDim = shapes.get('last_layer.weight_v')?.[0]; // of (K, bottleneck)
  const [hidden] = shapes.get('mlp.0.weight') ?? [];
  return {
    ...(outDim === undefined ? { loss: 'simdino', outDim: headBottleneckDim } : { outDim }),
    headBottleneckDim,
    headNlayers: layers.length,
    useBnInHead: [...shapes.keys()].some((name) => /^mlp\.\d+\.running_mean$/.test(name)),
    ...(hidden === undefined ? {} : { headHiddenDim: hidden }),
  };
}

/** Checks only these; train() passes all settings. */
const initSettings = z.looseObject({
  init: filePath.optional(),
  initCheckpointKey: text.optional(),
  initNormalization: oneOf(NORMALIZATIONS).optional(),
  initWithHead: yesOrNo.optional(),
  numHeads: count(1).optional(),
});

/**
 * The settings that the weights of `--init` determine: architecture, patch size, the grid of the position embeddings, and
 * with a head its sizes.
 * @param onWarning - Called with possible problems of the weights, and with which of several networks was taken.
 * @throws CheckpointError when they can't be read.
 */
export function settingsOfInit(
  settings: InitSettings,
  onWarning?: (message: string) => void,
): Partial<TrainSettings> {
  checkCall(
    'settingsOfInit()',
    ['settings', initSettings, settings],
    ['onWarning', callback.optional(), onWarning],
  );
  const { init, initWithHead = true, numHeads } = settings;
  if (init === undefined) return {};
  const { file, found, architecture, notes, warnings } = openNetwork(init, networkOptions(settings));
  file[Symbol.dispose]();
  for (const message of [...notes, ...warnings]) onWarning?.(message);
  const shapeOf = new Map(file.entries.map(({ name, shape }) => [name, shape]));
  // a number of heads is only a setting where all sizes are: of arch vit
  const { arch } = architecture;
  const ownSize = numHeads !== undefined && arch !== 'custom' ? { arch: sizedName(arch) } : {};
  return {
    ...settingsOfArchitecture({ ...architecture, ...ownSize } as Architecture),
    ...(initWithHead ? settingsOfHead(found.head, shapeOf) : {}),
  };
}

/**
 * Puts the weights of `--init` into a network. Without a head in them, or with `--init-with-head false`, its head keeps
 * its initial weights.
 * @throws CheckpointError that names everything that doesn't fit; nothing is changed then.
 */
export function initialise(network: MultiCropWrapper, settings: TrainSettings): void {
  const { init, initWithHead: withHead = true } = settings;
  if (init === undefined) return;
  const { backbone, head } = readNetwork(init, { ...networkOptions(settings), withHead });
  const state = new Map<string, Tensor>();
  const { channels } = settings;
  for (const [name, tensor] of backbone) {
    const isRgb = channels !== undefined && takesChannels(name) && tensor.size(1) === 3;
    // those of a network that takes three channels as they are, are for these three
    const isExpanded = isRgb && channels !== 3;
    if (!isExpanded) state.set(`backbone.${name}`, tensor);
    else {
      state.set(`backbone.${name}`, expandChannels(tensor, channels));
      tensor.dispose();
    }
  }
  const own = network.stateDict();
  if (head === null) {
    for (const [name, tensor] of own) if (name.startsWith('head.')) state.set(name, tensor);
  } else {
    for (const [name, tensor] of head) state.set(`head.${name}`, tensor);
  }
  try {
    network.loadStateDict(state);
  } catch (error) {
    const advice = head === null ? '' : ' --init-with-head false takes only the backbone.';
    throw new CheckpointError(
      `--init ${init} doesn't fit the settings.${advice} ${(error as Error).message}`,
      {
        cause: error,
      },
    );
  }
  for (const [name, tensor] of state) if (own.get(name) !== tensor) tensor.dispose();
}
