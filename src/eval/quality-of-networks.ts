/**
 * Several networks on the same images and the same views of them, measured without labels: images are read once for all. Used
 * by `dino eval quality` and by training (`--judge-every`).
 */
import type { ImageItems } from '../data/index.js';
import { type Backbone, buildBackbone } from '../models/index.js';
import type { EvalSizes } from '../plain/eval-geometry.js';
import { mean } from '../plain/mean.js';
import { Generator, inferenceMode, ops, scope, type Tensor, withGenerators } from '../torch/index.js';
import { type Architecture, backboneOptions } from '../weights/architecture.js';
import type { FeatureStreamOptions } from './features.js';
import type { Columns } from './finite-features.js';
import { type Compute, type EmbeddedViews, embedViews, findOtherViews } from './other-view.js';
import { neighbourAgreement } from './neighbours.js';
import { alphaReq, lidar, rankMe } from './quality-measures.js';

/** What is measured of each network. */
export interface QualityMeasures {
  /** Share of an image's nearest images that two views of it agree on; see neighbourAgreement(). The mean over the images. */
  neighbours: number;
  /** Share of the images that find their own other view first (src/eval/other-view.ts). The mean over the views. */
  otherView: number;
  /** Mean reciprocal rank of the own view in the same search. The mean over the views. */
  otherViewRank: number;
  rankMe: number;
  lidar: number;
  /** Best near 1; null for features of too few dimensions. */
  alphaReq: number | null;
}
export interface QualityOptions
  extends EvalSizes, Pick<FeatureStreamOptions, 'batchSize' | 'numWorkers' | 'device' | 'signal' | 'input'> {
  /** Other views of each image, at least 2. */
  views: number;
  /** Images that are used at most. */
  most: number;
  /** Of the sample and the views. */
  seed: number;
  /** What the networks are in messages, by their names. */
  called?: Readonly<Record<string, string>>;
  onProgress?: ((done: number, total: number) => void) | undefined;
}

export interface NetworksQuality extends Pick<EmbeddedViews, 'indices' | 'used' | 'leftOut' | 'skipped'> {
  /** By the networks' names. */
  measures: Map<string, QualityMeasures>;
  /** By the networks' names: `neighbours` of each of the `used` images, for verdictOn(). */
  judged: Map<string, number[]>;
}

/**
 * All measures of one network's features. Neighbours are compared by cosine after the images' mean is subtracted: a direction that all
 * features share tells no image from another, and says nothing about the others.
 *
 * @param features - (N, D). @param views - At least two, each (N, D).
 * @returns The measures, and `neighbours` of each image.
 */
function measureFeatures(
  features: Tensor,
  views: readonly Tensor[],
): { measures: QualityMeasures; judged: number[] } {
  return inferenceMode(() =>
    scope(() => {
      const center = features.mean([0]); // (D)
      const centred = features.sub(center);
      const others = views.map((view) => view.sub(center));
      const judged = neighbourAgreement(centred, others);
      const found = others.map((view) => findOtherViews(centred, view));
      const measures = {
        neighbours: mean(judged),
        otherView: mean(found.map(({ hits }) => mean(hits))),
        otherViewRank: mean(found.map(({ reciprocalRanks }) => mean(reciprocalRanks))),
        rankMe: rankMe(features),
        lidar: lidar(views),
        alphaReq: alphaReq(features),
      };
      return { measures, judged };
    }),
  );
}

const CALLED = { pixels: 'raw pixels', untrained: 'the untrained network' };

/** @throws As embedViews(); of features that are not finite it says which network's they are. */
export async function qualityOfNetworks(
  networks: ReadonlyMap<string, Compute>,
  items: ImageItems,
  options: QualityOptions,
): Promise<NetworksQuality> {
  const { called, ...loading } = options;
  const words: Readonly<Record<string, string>> = { ...CALLED, ...called };
  const places = new Map<string, Columns>();
  const compute: Compute = (images) => {
    let from = 0;
    const parts = [...networks].map(([name, network]) => {
      const part = network(images); // (B, D)
      const width = part.size(1);
      places.set(name, { from, width, by: words[name] ?? `the ${name}` });
      from += width;
      return part;
    });
    return ops.cat(parts, 1);
  };
  const embedded = await embedViews(compute, items, { ...loading, networks: () => [...places.values()] });
  const { features, views, indices, used, leftOut, skipped } = embedded;
  const measures = new Map<string, QualityMeasures>();
  const judged = new Map<string, number[]>();
  try {
    for (const [name, { from, width }] of places) {
      scope(() => {
        const part = (table: Tensor): Tensor => table.narrow(1, from, width).contiguous();
        const found = measureFeatures(part(features), views.map(part));
        measures.set(name, found.measures);
        judged.set(name, found.judged);
      });
    }
  } finally {
    for (const table of [features, ...views]) table.dispose();
  }
  return { measures, judged, indices, used, leftOut, skipped };
}

/** The side to which images are averaged down for their pixels to be compared. */
export const PIXELS_SIDE = 32;

/** Raw pixels as features: (B, 3, H, W) to (B, 3 * side * side), averaged down to at most 32 x 32. */
export const pixelFeatures: Compute = (images) => {
  const side = Math.min(PIXELS_SIDE, images.size(2));
  return (images.size(2) === side ? images : ops.adaptiveAvgPool2d(images, [side, side])).flatten(1);
};

/**
 * A network of this architecture with random weights: with the seed of a run, those that its training began with.
 * The caller disposes of it. Null for a backbone of the user's own, which only its builder can make.
 */
export function untrainedBackbone(architecture: Architecture, seed: number, device: string): Backbone | null {
  if (architecture.arch === 'custom') return null;
  const generator = new Generator('cpu').manualSeed(seed);
  const backbone = withGenerators([generator], () => buildBackbone(backboneOptions(architecture)));
  for (const parameter of backbone.parameters()) parameter.requiresGrad = false;
  backbone.to(device);
  backbone.eval();
  return backbone;
}
