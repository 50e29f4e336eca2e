/**
 * The demo: makes images, measures an untrained network, trains it with DINO, measures it again, and writes what changed
 * as one page.
 *
 *   OUTPUT/scenes/       the images, see scenes.ts
 *   OUTPUT/run/          the training's run folder: weights, metrics, settings
 *   OUTPUT/demo.json     the figures
 *   OUTPUT/report.html   the page
 */
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { ConfigError, DataError } from '../errors.js';
import { type AttentiveBackbone, type Backbone, buildBackbone, isAttentive } from '../models/index.js';
import { manualSeed } from '../torch/index.js';
import type { StepMetrics, TrainEvent } from '../train/events.js';
import { chooseDevice } from '../train/hardware.js';
import { PAPER } from '../train/presets.js';
import { lockFolder } from '../files/folder-lock.js';
import { readLines } from '../files/json-lines.js';
import { isRunFolder, metricsPath } from '../run/run-folder.js';
import { writeFileWhole } from '../files/atomic-file.js';
import type { TrainSettings } from '../run/settings.js';
import { train } from '../train/train.js';
import { packageVersion } from '../version.js';
import { loadModel } from '../model.js';
import {
  evaluateBaselines,
  evaluateNetwork,
  type EvaluateOptions,
  type Evaluation,
  FEATURE_SIZE,
  K,
  type LoadedScenes,
  loadScenes,
  THRESHOLD,
} from './evaluate.js';
import { bestReading, type Readings, WHITENED_COMPONENTS } from '../eval/readings.js';
import { saveEvaluation } from '../eval/save-evaluation.js';
import type { DemoFigures } from './figures.js';
import { attentionFigures, kindName, neighbourRows, scenePicture } from './pictures.js';
import { renderReport } from './report.js';
import { sceneRandom } from './scenes.js';
import { makeScenes, type SceneSetOptions } from './scenes.js';
import { summarize, type Summary } from './summary.js';

/** Passes over the scenes: one to two minutes on two cores; making pictures and measuring take another. */
const DEMO_EPOCHS = 5;

/**
 * Settings that were found to learn these scenes within minutes on two cores (docs/learning.md, The demo). What differs
 * from the paper, and why: a narrow ResNet whose positions a class token asks, because a transformer learns little from so
 * few images in minutes; six of ten positions hidden from the student's token, which otherwise comes to look at a small
 * part of an object; SimDINO's loss and Muon, which learn most in the same time; crops of 48 and 24 pixels, in which the
 * objects are about as large as in the whole scenes of 64 that are measured, at little more than half the cost of crops of
 * 64 and 32; local crops that are large enough to contain a part of the object; jitter over all hues, because crops could
 * otherwise be recognised by their scene's hue; no blur, which leaves little of crops this small.
 */
export const DEMO_SETTINGS: Readonly<TrainSettings> = {
  ...PAPER,
  arch: 'resnet_class_attention',
  embedDim: 192,
  depth: 3,
  patchSize: 8,
  imgSize: FEATURE_SIZE,
  dropPathRate: 0,
  patchDropRate: 0.6,
  loss: 'simdino',
  compressionWeight: 5,
  outDim: 128,
  headBottleneckDim: 128,
  headHiddenDim: 512,
  useBnInHead: true,
  momentumTeacher: 0.97,
  optimizer: 'muon',
  precision: 'fp32',
  batchSize: 32,
  epochs: DEMO_EPOCHS,
  lr: 0.08, // 0.01 at this batch: the linear rule scales it from a batch of 256
  warmupEpochs: 1,
  weightDecayEnd: PAPER.weightDecay,
  globalCropsSize: 48,
  localCropsSize: 24,
  localCropsNumber: 2,
  localCropsScale: [0.15, 0.5],
  hue: 0.5,
  globalBlurProbability1: 0,
  globalBlurProbability2: 0,
  localBlurProbability: 0,
  numWorkers: 1,
  device: 'auto',
  logEvery: 10,
  saveckpFreq: 0,
  saveEverySteps: 40, // the attention to the watched scenes is kept with each checkpoint
};

export type DemoEvent =
  /** A part of the demo starts. */
  | { type: 'part'; part: 'scenes' | 'before' | 'train' | 'after' | 'report' }
  | { type: 'scenes'; done: number; total: number; reused: boolean }
  /** In per cent: k-NN accuracy in its best reading, and Jaccard similarity of attention and object. */
  | { type: 'measured'; when: 'before' | 'after'; knn: number; jaccard: number }
  | { type: 'train'; event: TrainEvent };

export interface DemoOptions {
  /** Folder of the demo; the images of an earlier demo are reused. */
  output: string;
  /** Seed of images, weights and training. Default 0. */
  seed?: number;
  /** Aborting it stops with the signal's reason; training's newest checkpoint is kept. */
  signal?: AbortSignal | undefined;
  onEvent?: (event: DemoEvent) => void;
  /** Overrides settings of the training. */
  settings?: Partial<TrainSettings>;
  /** Overrides the numbers of scenes. */
  scenes?: Pick<SceneSetOptions, 'trainPerObject' | 'valPerObject'>;
}

export interface DemoResult {
  figures: DemoFigures;
  summary: Summary;
  /** Path of the page. */
  report: string;
  /** Path of the figures. */
  json: string;
  /** The run folder, for use with loadModel() and `dino attention`. */
  run: string;
}

/** Scenes whose attention and neighbours the report shows, each of another kind, and the neighbours of each. */
const SHOWN = 6;
const NEIGHBOURS = 5;
const EXAMPLES = 24;

/**
 * @throws DataError when `output` contains something other than a demo; what train() throws; the signal's reason when it is
 *   aborted.
 */
export async function runDemo(options: DemoOptions): Promise<DemoResult> {
  const { seed = 0, signal } = options;
  const emit = options.onEvent ?? (() => undefined);
  const output = resolve(options.output);
  const paths = {
    scenes: join(output, 'scenes'),
    run: join(output, 'run'),
    json: join(output, 'demo.json'),
    report: join(output, 'report.html'),
  };
  if (
    existsSync(output) &&
    readdirSync(output).length > 0 &&
    !existsSync(join(paths.scenes, 'scenes.json'))
  ) {
    throw new DataError(`${output} is not empty and was not made by a demo. Choose another --output.`);
  }
  mkdirSync(output, { recursive: true });
  const start = performance.now();
  const clock = { scenes: 0, before: 0, train: 0, after: 0, total: 0 };
  const timed = async <T>(part: keyof typeof clock & DemoPart, work: () => Promise<T>): Promise<T> => {
    emit({ type: 'part', part });
    const begin = performance.now();
    const result = await work();
    clock[part] = (performance.now() - begin) / 1000;
    signal?.throwIfAborted();
    return result;
  };

  // ============ the images ============
  const aborting = signal === undefined ? {} : { signal };
  const scenes = await timed('scenes', async () => {
    const set = await makeScenes({
      ...{ ...options.scenes, ...aborting, output: paths.scenes, seed },
      onProgress: (done, total) => emit({ type: 'scenes', done, total, reused: false }),
    });
    const loaded = await loadScenes(set);
    const total = loaded.train.items.length + loaded.val.items.length;
    if (set.reused) emit({ type: 'scenes', done: total, total, reused: true });
    return loaded;
  });
  const drawn = drawKinds(scenes, seed);
  const watchImages = drawn.map((index) => scenes.val.items.at(index)!.path);
  const settings: TrainSettings = { ...DEMO_SETTINGS, watchImages, ...options.settings, seed };
  const device = chooseDevice(settings.device);
  const evaluation: EvaluateOptions = {
    ...{ device, signal, neighboursOf: drawn, neighbours: NEIGHBOURS, attentionOf: drawn, seed },
  };
  const measured = (when: 'before' | 'after', { knn, jaccard }: Evaluation): void =>
    emit({ type: 'measured', when, knn: knn[bestReading(knn)], jaccard: jaccard.bestPerImage });

  // ============ the untrained network: exactly the weights with which training starts ============
  const { before, baselines } = await timed('before', async () => {
    manualSeed(seed, device);
    const imgSize = settings.imgSize ?? settings.globalCropsSize;
    const untrained = asAttentive(buildBackbone({ ...settings, imgSize, dropPathRate: 0 }));
    untrained.to(device).eval();
    const result = await evaluateNetwork(untrained, scenes, evaluation);
    untrained.dispose();
    measured('before', result);
    return { before: result, baselines: await evaluateBaselines(scenes, signal) };
  });

  // ============ training ============
  if (isRunFolder(paths.run)) {
    (await lockFolder(paths.run, aborting)).release(); // refused when another process is using it
    rmSync(paths.run, { recursive: true });
  }
  let begun: Extract<TrainEvent, { type: 'start' }> | undefined;
  const trained = await timed('train', () =>
    train({
      images: scenes.train,
      output: paths.run,
      settings,
      ...aborting,
      onEvent: (event) => {
        if (event.type === 'start') begun = event;
        emit({ type: 'train', event });
      },
    }),
  );

  // ============ the trained network ============
  const after = await timed('after', async () => {
    using model = loadModel(paths.run, { device });
    const result = await evaluateNetwork(asAttentive(model.backbone), scenes, evaluation);
    measured('after', result);
    // the studio compares with them
    const best = (knn: Readings): number => knn[bestReading(knn)];
    saveEvaluation(model.file, 'knn', {
      ...{ top1: { [K]: best(result.knn) }, reading: result.reading, classes: scenes.classes.length },
      ...{ trainImages: scenes.train.items.length, valImages: scenes.val.items.length },
      ...{ pixels: best(baselines.pixels), untrained: best(before.knn) },
    });
    return result;
  });

  // ============ the report ============
  emit({ type: 'part', part: 'report' });
  const metrics = readLines(metricsPath(paths.run)) as unknown as StepMetrics[];
  clock.total = (performance.now() - start) / 1000;
  const figures: DemoFigures = {
    version: packageVersion,
    seed,
    seconds: clock,
    machine: { cores: availableParallelism(), device, precision: begun?.precision ?? settings.precision },
    settings,
    parameters: begun?.parameters ?? 0,
    steps: trained.steps,
    curves: {
      outDim: settings.outDim,
      step: metrics.map(({ step }) => step),
      loss: metrics.map(({ loss }) => loss),
      entropy: metrics.map(({ teacherEntropy }) => teacherEntropy),
      kl: metrics.map(({ kl }) => kl),
    },
    knn: {
      k: K,
      classes: scenes.classes.length,
      trainImages: scenes.train.items.length,
      valImages: scenes.val.items.length,
      size: FEATURE_SIZE,
      components: WHITENED_COMPONENTS,
      ...baselines,
      before: before.knn,
      after: after.knn,
    },
    jaccard: { threshold: THRESHOLD, before: before.jaccard, after: after.jaccard },
  };
  const examples = drawImages(scenes.train.items.length, seed + 1, EXAMPLES);
  const html = renderReport({
    figures,
    attention: await attentionFigures(scenes, drawn, before, after),
    neighbours: await neighbourRows(scenes, drawn, before, after),
    map: {
      kinds: scenes.classes.map((_, label) => kindName(scenes, label)),
      labels: scenes.valLabels,
      before: before.map,
      after: after.map,
    },
    examples: await Promise.all(examples.map((index) => scenePicture(scenes, 'train', index))),
  });
  writeFileWhole(paths.json, `${JSON.stringify(figures, null, 2)}\n`);
  writeFileWhole(paths.report, html);
  return { figures, summary: summarize(figures), report: paths.report, json: paths.json, run: paths.run };
}

type DemoPart = Extract<DemoEvent, { type: 'part' }>['part'];

/** Indices of distinct images, drawn at random, in increasing order. */
function drawImages(count: number, seed: number, wanted: number): number[] {
  const random = sceneRandom(seed, 0x5ee, 0);
  const drawn = new Set<number>();
  while (drawn.size < Math.min(wanted, count)) drawn.add(Math.floor(random() * count));
  return [...drawn].sort((a, b) => a - b);
}

/** One image of val of each of several kinds, kinds and images drawn at random. */
function drawKinds({ classes, valLabels }: LoadedScenes, seed: number): number[] {
  const random = sceneRandom(seed, 0x5ef, 0);
  return drawImages(classes.length, seed, SHOWN).map((label) => {
    const own = valLabels.flatMap((one, i) => (one === label ? [i] : []));
    return own[Math.floor(random() * own.length)]!;
  });
}

/** The demo shows what a class token attends to. */
function asAttentive(backbone: Backbone): AttentiveBackbone {
  if (isAttentive(backbone)) return backbone;
  throw new ConfigError('the demo shows attention maps: choose an arch with a class token that attends');
}
