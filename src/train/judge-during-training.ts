/**
 * The judge of a training (`--judge-every`): the teacher's features are measured without labels on a fixed sample of the
 * training's images, before the first step and every few epochs. It uses no random numbers of the training, so a training is
 * the same to the bit with and without it.
 */
import type { ImageItems } from '../data/index.js';
import { DataError } from '../errors.js';
import { pixelFeatures, type QualityMeasures, qualityOfNetworks } from '../eval/quality-of-networks.js';
import { NEIGHBOURS } from '../eval/neighbours.js';
import { type Compute, sampleEvenly } from '../eval/other-view.js';
import { readLines } from '../files/json-lines.js';
import type { Backbone } from '../models/index.js';
import { defaultEvalSizes } from '../plain/eval-geometry.js';
import { JUDGE_IMAGES, JUDGE_MEASURE, scoreOf } from '../plain/quality.js';
import type { World } from '../processes/world.js';
import { bestCheckpoint } from '../run/checkpoint-files.js';
import { metricsPath } from '../run/run-folder.js';
import type { TrainSettings } from '../run/settings.js';
import { Generator, withGenerators } from '../torch/index.js';
import type { JudgementLine } from './events.js';
import { fallsShortOf, Judge, type Observed, UNREAD, verdictBetween } from './judge.js';
import { endInWords, type RunJudged, stalledInWords, whichAre } from './judge-words.js';

/** Of the training's images, sampled evenly: enough to tell apart what differs by a few percent, in seconds. */
const IMAGES = 512;
/** Of each image; the fewest that can agree, or not. */
const VIEWS = 2;

export interface JudgedRun {
  run: string;
  settings: TrainSettings & { numWorkers: number };
  items: ImageItems;
  /** The teacher's. */
  backbone: Backbone;
  /** Builds such a backbone with initial weights. */
  build: () => Backbone;
  stepsPerEpoch: number;
  totalSteps: number;
  world: World;
  signal: AbortSignal | undefined;
  warn: (message: string) => void;
}

interface Baselines {
  untrained: number;
  pixels: number;
}

const isLine = (line: Record<string, unknown>): boolean => {
  const { judge } = line as { judge?: Partial<JudgementLine['judge']> };
  return (
    typeof line['step'] === 'number' &&
    typeof judge === 'object' &&
    judge !== null &&
    judge.measure === JUDGE_MEASURE &&
    typeof judge.score === 'number' &&
    typeof judge.untrained === 'number' &&
    typeof judge.pixels === 'number' &&
    typeof judge.shared === 'string'
  );
};

/** Keeps the state of the judge over a run; all processes have the same. */
export class TrainingJudge {
  readonly #judged: JudgedRun;
  readonly #judge = new Judge();
  #baselines: Baselines | null = null;
  #last: JudgementLine | null = null;
  /** Those of step 0 and of the best weights so far. */
  #first: JudgementLine | null = null;
  #best: JudgementLine | null = null;
  #hasSaidStalled = false;
  /** Whether there are enough images to tell anything. If not, weights that `--init` gave stay the best. */
  readonly #canTell: boolean;

  private constructor(judged: JudgedRun) {
    this.#judged = judged;
    this.#canTell = judged.items.length >= JUDGE_IMAGES;
  }

  /** The judge of a run, which knows the judgements that its log has; null when there is to be none. Collective. */
  static async open(judged: JudgedRun): Promise<TrainingJudge | null> {
    const { settings, items, world, run, warn } = judged;
    if (settings.judgeEvery === 0) return null;
    const judge = new TrainingJudge(judged);
    if (!judge.#canTell) {
      const keepsGiven = settings.init !== undefined;
      if (world.isFirst)
        warn(
          `the judge needs at least ${JUDGE_IMAGES} images to tell anything, and there are ${items.length}: ` +
            'nothing is judged (--judge-every)' +
            (keepsGiven ? ', and the weights that you gave are kept in checkpoints/best' : ''),
        );
      return keepsGiven ? judge : null;
    }
    const before = await world.shared('earlier judgements', () => readLines(metricsPath(run)).filter(isLine));
    for (const line of before as unknown as JudgementLine[]) {
      const { score, untrained, pixels, shared } = line.judge;
      judge.#baselines ??= { untrained, pixels };
      const { isBest, stalled } = judge.#observe(line.step, score, shared);
      judge.#hasSaidStalled = stalled;
      judge.#remember(line, isBest);
    }
    return judge;
  }

  /**
   * Whether there is a judgement to make after `step` steps: before the first step, or when a run is first judged, after
   * every `judgeEvery` epochs, and at the end of the run.
   */
  isOwed(step: number, isEnd = false): boolean {
    const { settings, stepsPerEpoch, totalSteps } = this.#judged;
    if (!this.#canTell) return false;
    if (this.#last === null) return step < totalSteps;
    const interval = Math.max(1, Math.round(stepsPerEpoch * settings.judgeEvery));
    return step > this.#last.step && (isEnd || step % interval === 0);
  }

  /** Whether the weights after this step are the best, but have not been kept as such: the run was killed, or none is judged. */
  mustKeep(step: number): boolean {
    const { run, world } = this.#judged;
    if (!this.#canTell) return world.isFirst && step === 0;
    return world.isFirst && this.#judge.best?.step === step && bestCheckpoint(run)?.step !== step;
  }

  /** Step of the weights that are kept as the best; null before the first judgement. Weights that can't be judged stay the given. */
  get bestStep(): number | null {
    return this.#canTell ? (this.#judge.best?.step ?? null) : 0;
  }

  /** Whether those weights are on the disk: their write may have failed, or a session ended before it could be tried again. */
  get keepsBest(): boolean {
    return bestCheckpoint(this.#judged.run)?.step === this.bestStep;
  }

  /** Whether the last judgements brought no gain. */
  get stoppedGettingBetter(): boolean {
    return this.#judge.stoppedGettingBetter;
  }

  /**
   * Judges the teacher after `step` steps. Rank 0 does it, the others wait. Collective.
   * @returns The line for the log; null when it could not be judged, which a warning says.
   */
  async judge(step: number): Promise<JudgementLine | null> {
    const { world, warn, signal, stepsPerEpoch } = this.#judged;
    const found = await world.shared('the judgement', async () => {
      try {
        return await this.#measure(step);
      } catch (error) {
        if (signal?.aborted === true) return null; // training ends after the next step
        if (!(error instanceof DataError)) throw error;
        warn(`step ${step} can't be judged: ${error.message}`);
        return null;
      }
    });
    if (found === null) return null;
    const { measures, baselines, images, shared } = found;
    this.#baselines ??= baselines;
    const { untrained, pixels } = this.#baselines;
    const score = scoreOf(JUDGE_MEASURE, measures[JUDGE_MEASURE]);
    const { isBest, stalled } = this.#observe(step, score, shared);
    const line: JudgementLine = {
      step,
      epoch: Math.max(0, Math.ceil(step / stepsPerEpoch) - 1),
      judge: {
        ...{ measure: JUDGE_MEASURE, score, untrained, pixels, measures, images, shared, isBest, stalled },
        bestStep: this.#judge.best!.step,
        fallsShortOf: fallsShortOf(score, this.#baselines),
      },
    };
    this.#remember(line, isBest);
    if (stalled && !this.#hasSaidStalled && world.isFirst) warn(stalledInWords(this.#judgedSoFar!));
    this.#hasSaidStalled = stalled;
    return line;
  }

  /** Weights that were given stay the best until others are better by more than chance. */
  #observe(step: number, score: number, shared: string): Observed {
    const given = this.#judged.settings.init === undefined ? null : this.#first;
    const mayBeBest = given === null || verdictBetween(shared, given.judge.shared) === 'better';
    return this.#judge.observe(step, score, mayBeBest);
  }

  #remember(line: JudgementLine, isBest: boolean): void {
    this.#last = line;
    if (line.step === 0) this.#first = line;
    if (isBest) this.#best = line;
  }

  /** What the run's judgements say together; null before the first. */
  get #judgedSoFar(): RunJudged | null {
    if (this.#best === null || this.#last === null) return null;
    return {
      ...{ first: this.#first, best: this.#best, last: this.#last },
      beganWithGiven: this.#judged.settings.init !== undefined,
    };
  }

  /** What the end of a run says: that it was not worth it, or where its best weights are. Null when the last are the best. */
  verdict(): string | null {
    if (!this.#canTell)
      return (
        `judge: ${this.#judged.items.length} images are too few to tell whether these weights are better than those that you ` +
        `gave; ${whichAre('yours', this.keepsBest)}. Labelled images can tell: dino eval knn`
      );
    const judged = this.#judgedSoFar;
    return judged && endInWords({ ...judged, isKept: this.keepsBest });
  }

  async #measure(
    step: number,
  ): Promise<{ measures: QualityMeasures; baselines: Baselines; images: number; shared: string }> {
    const { settings, items, backbone, signal, world } = this.#judged;
    const { device, numWorkers, globalCropsSize, init, resumeFrom, seed } = settings;
    const isUntrained = step === 0 && init === undefined && resumeFrom === undefined;
    const untrained = this.#baselines === null && !isUntrained ? this.#untrained() : null;
    const networks = new Map<string, Compute>([['teacher', (images) => backbone.forward(images)]]);
    if (this.#baselines === null) networks.set('pixels', pixelFeatures);
    if (untrained !== null) networks.set('untrained', (images) => untrained.forward(images));
    backbone.eval();
    try {
      const { measures, judged, indices, used } = await qualityOfNetworks(networks, items, {
        ...{ ...defaultEvalSizes(globalCropsSize), views: VIEWS, most: IMAGES, seed, device, numWorkers },
        input: backbone,
        signal: world.size > 1 ? undefined : signal,
      });
      const score = (name: string): number => scoreOf(JUDGE_MEASURE, measures.get(name)![JUDGE_MEASURE]);
      const baselines = this.#baselines ?? {
        untrained: score(untrained === null ? 'teacher' : 'untrained'),
        pixels: score('pixels'),
      };
      const digits = judged.get('teacher')!.map((share) => Math.round(share * NEIGHBOURS));
      const digitOf = new Map(indices.map((index, i) => [index, digits[i]]));
      const shared = sampleEvenly(items.length, IMAGES, seed)
        .map((index) => digitOf.get(index) ?? UNREAD)
        .join('');
      return { measures: measures.get('teacher')!, baselines, images: used, shared };
    } finally {
      backbone.train();
      untrained?.dispose();
    }
  }

  /** The network that training would begin with without other weights, from the run's seed. */
  #untrained(): Backbone {
    const { settings, build } = this.#judged;
    const backbone = withGenerators([new Generator('cpu').manualSeed(settings.seed)], build);
    backbone.to(settings.device);
    backbone.eval();
    return backbone;
  }
}
