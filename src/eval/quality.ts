/**
 * How good features are, without labels: `dino eval quality`. The model is compared with the untrained network of its
 * architecture, with raw pixels, and with another model, on the same images and the same views of them.
 */
import { embeddable } from '../data/arguments.js';
import { type ImageItems, type ListNotes, notesOf, skippedPlace } from '../data/index.js';
import type { Backbone } from '../models/index.js';
import { model as modelSchema, anyModelArgument } from '../models/model-argument.js';
import { callback, checkCall, count, optionsOf, signal as abortSignal } from '../plain/check-options.js';
import { type EvalSizes, evalSizes } from '../plain/eval-geometry.js';
import {
  JUDGE_IMAGES,
  JUDGE_MEASURE,
  type MeasureName,
  showMeasure,
  type Verdict,
  verdictOn,
} from '../plain/quality.js';
import { trainedOn } from '../run/image-names.js';
import { locateWeights } from '../weights/locate.js';
import type { LoadedModel } from '../weights/loaded-model.js';
import { type ImageSource, imagesOf } from './embed.js';
import type { Compute } from './other-view.js';
import {
  type NetworksQuality,
  pixelFeatures,
  type QualityMeasures,
  qualityOfNetworks,
  untrainedBackbone,
} from './quality-of-networks.js';

/** Defaults of evaluateQuality(). */
export const QUALITY_DEFAULTS = { views: 4, maxImages: 1024, seed: 0 } as const;

export interface EvaluateQualityOptions extends Partial<EvalSizes> {
  /** Images without labels: a folder, a list file, paths, or what listImages() returned. */
  images: ImageSource;
  /** Another model, measured on the same images. */
  against?: LoadedModel;
  /** Other views of each image, at least 2; default 4. */
  views?: number;
  /** Images that are used at most, sampled evenly; default 1,024. */
  maxImages?: number;
  /** Of the sample and the views; default 0. */
  seed?: number;
  batchSize?: number;
  numWorkers?: number;
  signal?: AbortSignal | undefined;
  /** Called after every batch. */
  onProgress?: (progress: { done: number; total: number }) => void;
}

export interface QualityResult extends ListNotes {
  /** The measure that judges, and the model's value of it. */
  measure: MeasureName;
  score: number;
  measures: QualityMeasures;
  /** Of the network with random weights; null for a backbone of your own. */
  untrained: QualityMeasures | null;
  /** Of the pixels themselves, averaged down to 32 x 32. */
  pixels: QualityMeasures;
  /** Of the other model; null without one. */
  against: QualityMeasures | null;
  /** What the judging measure says about the model compared with each; null where it can't tell. */
  verdicts: { untrained: Verdict | null; pixels: Verdict | null; against: Verdict | null };
  /** The verdicts and their limits in words, one sentence each. */
  words: string[];
  /** Images that were compared, and those that were not sampled. */
  images: number;
  notSampled: number;
  /** How many of the compared images the model was trained on; null where that is not known. */
  trainedOn: number | null;
  views: number;
  seed: number;
  resize: number;
  crop: number;
  skipped: { path: string; reason: string }[];
}

/** On the images of both passes: one may have become unreadable between them. Null where there is no such network. */
function verdictAgainst(model: NetworksQuality, other: NetworksQuality, name: string): Verdict | null {
  const values = other.judged.get(name);
  if (values === undefined) return null;
  const theirs = new Map(other.indices.map((index, i) => [index, values[i]!]));
  const pairs = model.indices.flatMap((index, i) =>
    theirs.has(index) ? [[model.judged.get('model')![i]!, theirs.get(index)!] as const] : [],
  );
  return verdictOn(
    pairs.map(([mine]) => mine),
    pairs.map(([, its]) => its),
  );
}

const PHRASES = { better: 'better than', worse: 'worse than', alike: 'about as good as' } as const;

type Described = Omit<QualityResult, 'words'>;

function wordsOn(result: Described, sizes: { own: number; against: number | null }): string[] {
  const { measure, images, notSampled, trainedOn: seen, verdicts } = result;
  const words: string[] = [];
  const say = (verdict: Verdict | null, what: string, other: QualityMeasures | null): void => {
    if (verdict === null || other === null) return;
    const [mine, theirs] = [result.measures, other].map((each) => showMeasure(measure, each[measure]));
    const isChance = verdict === 'alike' ? ', a difference that may be chance' : '';
    words.push(`the features are ${PHRASES[verdict]} ${what}: ${mine} against ${theirs}${isChance}`);
  };
  say(verdicts.untrained, 'those of the untrained network', result.untrained);
  say(verdicts.pixels, 'raw pixels', result.pixels);
  say(verdicts.against, 'those of the other model', result.against);
  if (images < JUDGE_IMAGES)
    words.push(
      `${images} images are too few to tell: differences may be chance. At least ${JUDGE_IMAGES} are needed, several hundred are better`,
    );
  if (result.untrained === null)
    words.push('a backbone of your own is not compared with an untrained one: only its builder can make it');
  if (sizes.against !== null && sizes.against !== sizes.own)
    words.push(
      `the models see the images at different sizes (${sizes.own} and ${sizes.against} pixels), as each was trained; ` +
        '--crop gives both the same',
    );
  if (seen === 0) words.push('the model was trained on none of these images');
  else if (seen === images) words.push('the model was trained on these images');
  else if (seen !== null) words.push(`the model was trained on ${seen} of these ${images} images`);
  if (notSampled > 0)
    words.push(`${notSampled} of ${images + notSampled} images were not sampled (--max-images)`);
  return words;
}

/** How many of the images the run that the weights belong to was trained on; null where its folder doesn't say. */
function countTrainedOn(run: string | null, items: ImageItems, indices: readonly number[]): number | null {
  const isTrainedOn = run === null ? null : trainedOn(run);
  return isTrainedOn && indices.filter((index) => isTrainedOn(items.at(index)!.path)).length;
}

const qualityOptions = optionsOf<EvaluateQualityOptions>(
  { images: embeddable },
  {
    ...{ views: count(2), maxImages: count(2), seed: count(), resize: count(1), crop: count(1) },
    ...{ batchSize: count(1), numWorkers: count(), signal: abortSignal, onProgress: callback },
    against: modelSchema,
  },
);

/**
 * Measures a model without labels, next to the untrained network, raw pixels, and another model.
 *
 * @throws DataError when fewer than two images can be read, or features are NaN or infinite (it names an image and the model); ConfigError
 *   for options out of range; the signal's reason when it is aborted.
 */
export async function evaluateQuality(
  model: LoadedModel,
  options: EvaluateQualityOptions,
): Promise<QualityResult> {
  checkCall('evaluateQuality()', anyModelArgument(model), ['options', qualityOptions, options]);
  const { against, onProgress, batchSize, numWorkers, signal } = options;
  const { views, maxImages: most, seed } = { ...QUALITY_DEFAULTS, ...options };
  const { architecture, backbone, device } = model;
  const sizes = evalSizes(options, architecture);
  const otherSizes = against === undefined ? null : evalSizes(options, against.architecture);
  const list = await imagesOf(options.images);
  const { items } = list;
  const { run, settings } = locateWeights(model.file);
  const inputOf = ({ channels, normalization }: Backbone): string =>
    JSON.stringify([channels, normalization.mean, normalization.std]);
  const isTogether =
    against !== undefined &&
    otherSizes?.crop === sizes.crop &&
    against.device === device &&
    inputOf(against.backbone) === inputOf(backbone);
  const passes = against === undefined || isTogether ? 1 : 2;
  const called = {
    model: model.file,
    ...(against === undefined ? {} : { against: `the other model, ${against.file},` }),
  };
  const shared = {
    views,
    most,
    seed,
    numWorkers,
    signal,
    called,
    ...(batchSize === undefined ? {} : { batchSize }),
  };
  const common = (pass: number) => ({
    ...shared,
    onProgress: (done: number, total: number): void =>
      onProgress?.({ done: done + pass * total, total: passes * total }),
  });

  const untrained = untrainedBackbone(architecture, settings?.seed ?? 0, device);
  try {
    const features =
      (of: Backbone): Compute =>
      (images) =>
        of.forward(images);
    const networks = new Map([
      ['model', features(backbone)],
      ['pixels', pixelFeatures],
    ]);
    if (untrained !== null) networks.set('untrained', features(untrained));
    if (isTogether) networks.set('against', features(against.backbone));
    const found = await qualityOfNetworks(networks, items, {
      ...common(0),
      ...sizes,
      device,
      input: backbone,
    });
    const { measures } = found;
    let foundAgainst = found;
    if (against !== undefined && !isTogether) {
      foundAgainst = await qualityOfNetworks(new Map([['against', features(against.backbone)]]), items, {
        ...{ ...common(1), ...otherSizes!, device: against.device, input: against.backbone },
      });
      measures.set('against', foundAgainst.measures.get('against')!);
    }
    const { used: images, indices, leftOut: notSampled, skipped } = found;
    const own = measures.get('model')!;
    const others = {
      untrained: measures.get('untrained') ?? null,
      pixels: measures.get('pixels')!,
      against: measures.get('against') ?? null,
    };
    const result: Described = {
      measure: JUDGE_MEASURE,
      score: own[JUDGE_MEASURE],
      measures: own,
      ...others,
      verdicts: {
        untrained: verdictAgainst(found, found, 'untrained'),
        pixels: verdictAgainst(found, found, 'pixels'),
        against: verdictAgainst(found, foundAgainst, 'against'),
      },
      ...{ images, notSampled, views, seed, ...sizes },
      trainedOn: countTrainedOn(run, items, indices),
      skipped: [...(list.unreadable ?? []).map(skippedPlace), ...skipped],
      ...notesOf(list),
    };
    return { ...result, words: wordsOn(result, { own: sizes.crop, against: otherSizes?.crop ?? null }) };
  } finally {
    untrained?.dispose();
  }
}
