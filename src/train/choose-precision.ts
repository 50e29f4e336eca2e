/**
 * What `--precision auto` chooses: the fastest of the precisions that this device has instructions for, by steps of the
 * training itself. The steps are made with networks of their own, which are thrown away: a training that chose its precision
 * and one that was given it are the same to the bit.
 */
import { setImmediate as eventLoopTurn } from 'node:timers/promises';
import { dinoStep } from '../dino/index.js';
import { type BackboneFactory, normalizeImages, pixelTensor } from '../models/index.js';
import { buildOptimizer, LossScaler, parameterGroups, type Optimizer } from '../optim/index.js';
import { type Precision, PRECISIONS } from '../plain/precisions.js';
import { Race } from '../plain/race.js';
import { showSeconds } from '../plain/units.js';
import type { TrainSettings } from '../run/settings.js';
import { isOutOfMemory } from './out-of-memory.js';
import {
  dtypeOf,
  getNumThreads,
  precisionProblem,
  scope,
  setNumThreads,
  synchronize,
  type Tensor,
} from '../torch/index.js';
import { buildTraining, type BuiltTraining } from './build-training.js';

export interface ChosenPrecision {
  precision: Precision;
  /** The times that decided, or why nothing was timed. */
  reason: string;
}

export interface ChoosePrecisionOptions {
  /** The length of the training, in one of two ways: trial steps take at most a small share of it. */
  length: { steps: number } | { seconds: number };
  /** Builds the backbones of arch 'custom'. */
  build?: BackboneFactory | undefined;
  /** Called before trial steps; without any it isn't. */
  onTrial?: (() => void) | undefined;
  signal?: AbortSignal | undefined;
}

/** Trial steps take at most this share of the training, and these seconds. */
const SHARE = 0.03;
const SECONDS = 60;
/** Images of the first trial step; then twice as many at a time, up to the batch. */
const FEW = 2;
/** The precisions that may pay off on a device, fp32 first. */
const candidatesOn = (device: string): Precision[] =>
  PRECISIONS.filter((precision) => precisionProblem(precision, device) === null);

/** Steps of a training on random images, with any number of images and in any precision. */
class TrialSteps {
  readonly #settings: TrainSettings;
  readonly #built: BuiltTraining;
  readonly #optimizers = new Map<string, Optimizer>();

  constructor(settings: TrainSettings, build: BackboneFactory | undefined) {
    this.#settings = settings;
    this.#built = buildTraining(settings, 'fp32', build);
    this.#optimizers.set('float32', this.#built.state.optimizer);
  }

  /** @returns Seconds. */
  step(precision: Precision, images: number): number {
    const { globalCropsSize: large, localCropsSize: small, localCropsNumber: locals } = this.#settings;
    const { clipGrad, freezeLastLayer, koleoWeight, microBatchSize, activationCheckpointing } =
      this.#settings;
    const { state } = this.#built;
    const began = performance.now();
    scope(() =>
      dinoStep(
        {
          ...state,
          optimizer: this.#optimizer(precision),
          scaler: new LossScaler(precision === 'fp16'),
        },
        [this.#crops(2 * images, large), ...(locals === 0 ? [] : [this.#crops(locals * images, small)])],
        {
          // every parameter is trained, as in most steps of the run
          epoch: freezeLastLayer,
          ...{ lr: 1e-6, weightDecay: 0, momentum: 0.999, teacherTemp: 0.04 },
          ...{ clipGrad, freezeLastLayer, koleoWeight, microBatchSize, activationCheckpointing },
          ...{ precision, measure: false },
        },
      ),
    );
    synchronize(state.device);
    return (performance.now() - began) / 1000;
  }

  dispose(): void {
    const { student, teacher, loss, lowRank } = this.#built.state;
    for (const part of [student, teacher, loss, ...this.#optimizers.values()]) part.dispose();
    lowRank?.dispose();
  }

  /** Only Muon computes in another dtype than float32; the others share their state. */
  #optimizer(precision: Precision): Optimizer {
    const { optimizer: name } = this.#settings;
    const dtype = name === 'muon' ? dtypeOf(precision) : 'float32';
    const known = this.#optimizers.get(dtype);
    if (known !== undefined) return known;
    const { student, lowRank } = this.#built.state;
    const groups = parameterGroups(lowRank?.parametersOf(student) ?? [...student.namedParameters()]);
    const optimizer = buildOptimizer(name, groups, dtype);
    this.#optimizers.set(dtype, optimizer);
    return optimizer;
  }

  /** (n, C, size, size), normalized; the pixels are noise. */
  #crops(n: number, size: number): Tensor {
    const { student, device } = this.#built.state;
    const { channels, normalization } = student.backbone;
    const bytes = channels === null ? 3 : 2 * channels;
    const pixels = Uint8Array.from(
      { length: n * bytes * size * size },
      (_, i) => Math.imul(i + 1, 2654435761) >>> 24,
    );
    const square = { width: size, height: size };
    return normalizeImages(pixelTensor(pixels, student.backbone, square, device), normalization);
  }
}

const list = (names: readonly string[]): string =>
  names.length < 2 ? names.join('') : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;

/**
 * Chooses the fastest precision by trial steps with the settings' networks, crops and batch, or as many images of it as there
 * is time for.
 *
 * @param settings - With the device resolved.
 * @throws The signal's reason; as buildTraining().
 */
export async function choosePrecision(
  settings: TrainSettings,
  { length, build, onTrial, signal }: ChoosePrecisionOptions,
): Promise<ChosenPrecision> {
  const candidates = candidatesOn(settings.device);
  const [, ...reduced] = candidates;
  if (reduced.length === 0) {
    const problem = precisionProblem('bf16', settings.device);
    return { precision: 'fp32', reason: problem ?? `${settings.device} has no other precision` };
  }
  onTrial?.();
  const began = performance.now();
  const spent = (): number => (performance.now() - began) / 1000;
  const threads = getNumThreads();
  if (settings.threads > 0) setNumThreads(settings.threads);
  const trial = new TrialSteps(settings, build);
  const step = async (precision: Precision, images: number): Promise<number> => {
    await eventLoopTurn(); // lets signals in
    signal?.throwIfAborted();
    return trial.step(precision, images);
  };
  /** Seconds that the trial may take, if a step of the batch takes this long. */
  const allowed = (secondsPerStep: number): number =>
    Math.min(SECONDS, SHARE * ('seconds' in length ? length.seconds : length.steps * secondsPerStep));
  const batch = settings.batchSize;
  try {
    let images = Math.min(FEW, batch);
    let took = await step('fp32', images); // it also loads kernels and fills caches
    const limit = (): number => allowed((took * batch) / images);
    const budget = (): number => limit() - spent();
    if (took < budget()) took = await step('fp32', images);
    // each precision makes one step that is not timed and at least one that is
    const fewest = (): number => 2 * candidates.length * took;
    while (images < batch && 2 * fewest() + 2 * took < budget()) {
      const more = Math.min(2 * images, batch);
      const longer = await step('fp32', more);
      // the first step of a size may take several times as long as the next: then as many as before have to do
      if (2 * candidates.length * longer > budget()) break;
      [images, took] = [more, longer];
    }
    if (fewest() > budget())
      return {
        precision: 'fp32',
        reason:
          `trying ${list(reduced)} would take longer than the ${showSeconds(limit())} of this training that trial steps ` +
          `may: one of ${images} image${images === 1 ? '' : 's'} takes ${showSeconds(took)}`,
      };

    const race = new Race(candidates); // the most exact first
    for (let round = 0; round <= race.rounds; round++) {
      if (round > 1 && candidates.length * took > budget()) break;
      for (const precision of candidates) {
        const seconds = await step(precision, images);
        if (round > 0) race.add(precision, seconds);
      }
    }
    const precision = race.winner;
    const times = candidates.map((name) => `${name} ${showSeconds(race.seconds(name))}`).join(', ');
    const some = images === batch ? `${images} images` : `${images} of the batch's ${batch} images`;
    const why = race.isFastest ? 'the fastest' : `within ${100 * Race.NEAR}% of the fastest, and more exact`;
    return { precision, reason: `${why}: trial steps of ${some} take ${times}` };
  } catch (error) {
    if (!isOutOfMemory(error)) throw error;
    // the least memory comes last; where none fits, training says what else helps
    for (const precision of reduced.toReversed()) {
      const fits = await step(precision, batch).then(
        () => true,
        (problem: unknown) => {
          if (!isOutOfMemory(problem)) throw problem;
          return false;
        },
      );
      if (fits)
        return {
          precision,
          reason: `a step of ${batch} images fits into the memory of ${settings.device}, which one in fp32 does not`,
        };
    }
    return {
      precision: 'fp32',
      reason: `a step of ${batch} images fits into the memory of ${settings.device} in none`,
    };
  } finally {
    trial.dispose();
    setNumThreads(threads);
  }
}
