/**
 * The preset `auto`: settings by the number and size of the images and by the machine, each with its reason.
 *
 * It follows measurements on small data: with a few thousand images, a head as wide as the paper's (65,536 outputs) or a
 * teacher temperature of 0.04 leaves the loss at ln K; few outputs and a sharper, faster teacher learn in minutes on two
 * cores. From 100,000 images upwards, on a GPU, it uses the paper's settings.
 */
import {
  architectureEntry,
  convStemProblem,
  hasConvStem,
  ownSizes,
  takesPatchSize,
  wholePatchSize,
} from '../models/architectures.js';
import { parseDuration } from '../plain/units.js';
import type { PartialSettings, SettingName, TrainSettings } from '../run/settings.js';
import { JUDGE_IMAGES } from '../plain/quality.js';
import { PAPER } from './paper.js';
import { type Choice, finish, multiple, type Resolved, round, type TrainFacts } from './preset.js';
import { type Recipe, recipeFor } from './recipes.js';

/** How weights that were trained before go on to be trained (docs/adapt.md has the measurements). */
const ADAPTATION = {
  reason: 'gentle, because the weights are trained already',
  /** Networks that gain most, and lose nothing, when they are trained on as new ones are; the judge looks after them too. */
  sturdy: /^resnet/,
  /** Of the learning rate that new weights get. */
  lrShare: 0.1,
  /** Low-rank updates begin at zero and take ten times the rate of whole weights (Schulman et al. 2025, LoRA Without Regret). */
  loraLrShare: 1,
  /** Shares of the run. */
  frozenShare: 0.1,
  warmupShare: 0.2,
  layerwiseDecay: 0.9,
  patchEmbedLrMult: 0.2,
  /** How often the judge compares with the given weights, in a run that has no time of its own. */
  judgements: 6,
};

/** What a recipe says of these is fitted to the images and the other settings. */
const BY_FORMULA: readonly SettingName[] = ['batchSize', 'epochs', 'globalCropsSize', 'lr'];

/** A run for at least this time is judged, about once in this time. */
const JUDGED_SECONDS = 120;
/** Decoded images are kept where they take at most this share of the machine's memory. */
const CACHED_SHARE = 1 / 8;
/** A run in steps whose epochs are fewer writes this many checkpoints. */
const CHECKPOINTS = 10;
/** Widths of the reference's backbones, for the head that is chosen. */
const WIDTHS: Readonly<Record<string, number>> = { tiny: 192, small: 384, base: 768 };

const clamp = (value: number, low: number, high: number): number => Math.min(high, Math.max(low, value));
const powerOfTwoBelow = (value: number): number => 2 ** Math.floor(Math.log2(Math.max(1, value)));
const thousands = (value: number): string => value.toLocaleString('en-US');

/** What was chosen of the network. */
interface Network {
  arch: string;
  /** Of its features. */
  width: number;
}

/** How long the run is. */
interface Length {
  /** Images of a step, in all processes. */
  batch: number;
  /** A run in steps may have a fraction. */
  epochs: number;
  steps: number;
}

/** Chooses settings from the facts. Settings that the user gave are kept, and the others are chosen to fit them. */
export function autoPreset(facts: TrainFacts, overrides: PartialSettings): Resolved {
  return new AutoPreset(facts, overrides).resolve();
}

class AutoPreset {
  private readonly facts: TrainFacts;
  private readonly overrides: PartialSettings;
  private readonly recipe: Recipe;
  private readonly choices: Choice[] = [];
  private readonly chosen: PartialSettings;
  private readonly shortSide: number;
  private readonly onGpu: boolean;
  private readonly isLarge: boolean;
  private readonly isPaper: boolean;
  /** The time that the run has; null where the user gave none. */
  private readonly seconds: number | null;
  private readonly isInSteps: boolean;
  private readonly isAdapting: boolean;
  private readonly hardware: string;

  constructor(facts: TrainFacts, overrides: PartialSettings) {
    const { images, device, cores } = facts;
    this.facts = facts;
    this.overrides = overrides;
    this.chosen = { ...PAPER, ...overrides };
    this.shortSide = Math.min(facts.width, facts.height);
    this.onGpu = device !== 'cpu';
    this.isLarge = images >= 100_000;
    this.isPaper = this.onGpu && this.isLarge;
    this.seconds = overrides.for === undefined ? null : parseDuration(overrides.for);
    this.isInSteps = overrides.steps !== undefined || overrides.for !== undefined;
    this.isAdapting = overrides.init !== undefined;
    this.hardware = this.onGpu ? device : `${cores} CPU core${cores === 1 ? '' : 's'}`;
    const conditions = { isGpu: this.onGpu, cores, images, side: this.shortSide, seconds: this.seconds };
    this.recipe = recipeFor(conditions, overrides);
  }

  resolve(): Resolved {
    const network = this.#chooseNetwork();
    this.#chooseCrops(network);
    const length = this.#chooseLength(this.#chooseBatch());
    this.#chooseHead(network, length);
    this.#chooseOptimization(network, length);
    this.#chooseRunning(length);
    const resolved = finish(this.chosen, this.choices);
    const { images } = this.facts;
    const few = `${images} images are fewer than the ${JUDGE_IMAGES} that the judge needs: nothing will tell`;
    if (this.isAdapting && images < JUDGE_IMAGES)
      resolved.warnings.push(
        `${few} whether training makes the weights that you gave better or worse. Compare them yourself (--knn-train, --knn-val ` +
          'and --knn-every), and keep yours otherwise',
      );
    else if (images < JUDGE_IMAGES && (this.seconds ?? 0) >= JUDGED_SECONDS)
      resolved.warnings.push(
        `${few} how good the features are. With labelled images --knn-train, --knn-val and --knn-every do`,
      );
    return resolved;
  }

  /** What the user gave, else what the recipe says, else this value. */
  #choose<K extends SettingName>(name: K, value: NonNullable<TrainSettings[K]>, reason: string) {
    const { recipe } = this;
    const given = this.overrides[name];
    if (given !== undefined) return given as NonNullable<TrainSettings[K]>;
    const ofRecipe = BY_FORMULA.includes(name) ? undefined : recipe.settings[name];
    const taken = ofRecipe ?? value;
    this.chosen[name] = taken;
    const why = ofRecipe === undefined ? reason : (recipe.reasons?.[name] ?? recipe.reason);
    this.choices.push({ name, value: taken, reason: why });
    return taken;
  }

  #chooseNetwork(): Network {
    const { facts, hardware } = this;
    const data = `${thousands(facts.images)} images of about ${facts.width} x ${facts.height}`;
    const arch = this.#choose('arch', 'vit', `a size that ${hardware} can train on ${data}`);
    const entry = architectureEntry(arch);
    const known = entry !== null && !/^(?:resnet|xcit)$/.test(entry.family) ? entry.embedDim : null;
    let width = known ?? WIDTHS[arch.replace(/^.*_/, '')] ?? 128;
    if (ownSizes(arch).includes('numHeads')) {
      width = this.#choose('embedDim', 128, 'a narrow transformer');
      this.#choose('depth', 4, 'a shallow transformer');
      this.#choose('numHeads', Math.max(1, Math.floor(width / 64)), '64 channels per head, as in the paper');
      this.#choose('dropPathRate', 0, 'a shallow network needs every block');
    } else if (arch === 'resnet' || arch === 'dinov3_convnext') {
      width = this.#choose('embedDim', 256, 'a narrow network');
      this.#choose('depth', arch === 'resnet' ? 4 : 6, 'one block in each stage, or few');
    } else if (arch === 'resnet_class_attention') {
      width = this.#choose('embedDim', 192, 'a narrow network');
      this.#choose('depth', 3, 'one block in each stage');
    }
    return { arch, width };
  }

  /** No larger than the image (upscaled pixels teach nothing), and no more patches than are affordable. */
  #chooseCrops({ arch, width }: Network): void {
    const { facts, overrides, recipe, shortSide, hardware, chosen } = this;
    const ofWeights = this.isAdapting && overrides.imgSize !== undefined ? [overrides.imgSize] : [];
    const isFitting = (size: number): boolean => size <= shortSide * 1.25;
    const [trainedSize] = ofWeights.filter(isFitting);
    const largest =
      recipe.settings.globalCropsSize ?? trainedSize ?? recipe.cropSizes.filter(isFitting).at(-1) ?? 32;
    const givenPatch = wholePatchSize(arch, overrides.patchSize);
    const wantedCrop = givenPatch === undefined ? largest : multiple(largest, givenPatch);
    const globalCrop = this.#choose(
      'globalCropsSize',
      wantedCrop,
      wantedCrop === recipe.settings.globalCropsSize
        ? (recipe.reasons?.globalCropsSize ?? recipe.reason)
        : wantedCrop === trainedSize
          ? 'that which the weights were trained with'
          : wantedCrop >= 224
            ? "the paper's"
            : `near the images' short side (${shortSide}) and affordable on ${hardware}`,
    );
    const perSide = recipe.patchesPerSide;
    const isPatch = (size: number): boolean =>
      globalCrop % size === 0 && !(hasConvStem(arch) && convStemProblem(size, width) !== null);
    const usualPatch =
      [16, 12, 8, 4].find((size) => isPatch(size) && globalCrop / size >= perSide) ??
      [4, 2, 3, 5, 7, 1].find((size) => isPatch(size) && globalCrop / size >= 2) ??
      1;
    const patch = takesPatchSize(arch)
      ? this.#choose(
          'patchSize',
          usualPatch,
          `${perSide} x ${perSide} patches or slightly more in a global crop`,
        )
      : (architectureEntry(arch)?.patchSize ?? 1);
    if (overrides.patchSize === undefined) chosen.patchSize = patch;
    // networks read larger images better than those that they were trained on (Touvron et al. 2019, FixRes)
    if (arch.startsWith('resnet'))
      this.#choose(
        'imgSize',
        Math.round((globalCrop * 4) / 3),
        'features are read at a third more than a global crop',
      );
    const localCrop =
      globalCrop === 224 && patch <= 16 && 96 % patch === 0 ? 96 : multiple(globalCrop / 2, patch);
    this.#choose('localCropsSize', localCrop, localCrop === 96 ? "the paper's" : 'half of a global crop');
    this.#choose('localCropsNumber', 4, 'fewer than in the paper: cheaper steps');

    if (shortSide <= 96) {
      this.#choose(
        'localCropsScale',
        [0.15, 0.5],
        `the paper's smallest, 5% of ${facts.width} x ${facts.height}, would show nothing`,
      );
    }
  }

  /** @returns Images of a step, in all processes. */
  #chooseBatch(): number {
    const { facts, recipe, onGpu } = this;
    const { images, processes = 1 } = facts;
    const usualBatch = onGpu ? PAPER.batchSize : facts.memoryGiB >= 4 ? 32 : 16;
    const memoryBatch = recipe.settings.batchSize ?? usualBatch;
    // processes on one machine's cores share its batch; each GPU has its own
    const mostEach = Math.max(1, onGpu ? memoryBatch : Math.floor(memoryBatch / processes));
    const batchEach = this.#choose(
      'batchSize',
      Math.min(mostEach, powerOfTwoBelow(images / 2 / processes)),
      (images < 2 * mostEach * processes
        ? 'at least two steps per epoch with so few images'
        : 'small batches, many steps') +
        (processes > 1 ? `; the same for each of ${processes} processes` : ''),
    );
    return batchEach * processes;
  }

  /** Trained weights may become worse, so those that they began with are always among the ones that are judged. */
  #judgeAdaptation(epochs: number): void {
    const { images } = this.facts;
    if (this.isAdapting && images >= JUDGE_IMAGES)
      this.#choose(
        'judgeEvery',
        round(epochs / ADAPTATION.judgements, 3),
        'compares with the weights that you gave, without labels; the best are kept',
      );
  }

  /** How long the run is, and what is a share of that. @param batch - Of all processes. */
  #chooseLength(batch: number): Length {
    const { seconds, chosen, overrides, recipe, onGpu, hardware, isInSteps } = this;
    const { images, cores } = this.facts;
    const stepsPerEpoch = Math.max(1, Math.floor(images / batch));
    const lasting = (epochs: number): Length => ({
      ...{ batch, epochs },
      steps: Math.max(1, Math.round(stepsPerEpoch * epochs)),
    });
    const { views } = recipe;
    const wanted = 'total' in views ? views.total : clamp(views.perCore * cores, views.perCore, views.most);
    const usual = clamp(Math.round(wanted / images), onGpu ? 10 : 3, onGpu ? 300 : 100);
    if (!isInSteps) {
      const most = this.#choose(
        'epochs',
        recipe.settings.epochs ?? usual,
        recipe.settings.epochs === undefined
          ? `about ${thousands(wanted)} image views: minutes on ${hardware}; more epochs learn more`
          : recipe.reason,
      );
      this.#judgeAdaptation(most);
      this.#choose('warmupEpochs', Math.min(most, clamp(Math.round(most / 10), 1, 10)), 'a tenth of the run');
      const frozen = most > 1 ? 1 : 0;
      this.#choose(
        'freezeLastLayer',
        frozen,
        frozen === 1 ? "the paper's" : 'only one epoch: everything is trained',
      );
      return lasting(most);
    }
    // in steps; a time that was not measured yet counts as the usual number
    const part = overrides.steps === undefined ? usual : overrides.steps / stepsPerEpoch;
    chosen.epochs = Math.ceil(part);
    if (seconds !== null && seconds >= JUDGED_SECONDS && images >= JUDGE_IMAGES) {
      const judgements = clamp(Math.round(seconds / JUDGED_SECONDS), 1, 30);
      this.#choose(
        'judgeEvery',
        round(part / judgements, 3),
        'says without labels how good the features are; the best are kept',
      );
    } else this.#judgeAdaptation(part);
    this.#choose('warmupEpochs', round(Math.min(10, part / 10), 3), 'a tenth of the run');
    this.#choose(
      'freezeLastLayer',
      round(Math.min(1, part / 6), 3),
      "a sixth of the run, the paper's epoch at most",
    );
    if (part < CHECKPOINTS) {
      this.#choose(
        'saveEverySteps',
        Math.ceil((part * stepsPerEpoch) / CHECKPOINTS),
        `epochs are long: ${CHECKPOINTS} checkpoints in the run`,
      );
    }
    return lasting(part);
  }

  /** The head, and the teacher that fits it. */
  #chooseHead({ width }: Network, { epochs, steps }: Length): void {
    const { isLarge, isPaper, onGpu, isInSteps } = this;
    const { images } = this.facts;
    const loss = this.#choose('loss', 'dino', "the paper's");
    const bottleneck = this.#choose(
      'headBottleneckDim',
      Math.min(256, width),
      width >= 256 ? "the paper's" : 'no wider than the backbone',
    );
    let outputs = 256;
    if (images < 500) outputs = 64;
    else if (images >= 1_000_000 || isPaper) outputs = 65536;
    else if (isLarge) outputs = 4096;
    else if (images >= 20_000) outputs = onGpu ? 4096 : 1024;
    const outDim = this.#choose(
      'outDim',
      loss === 'simdino' ? bottleneck : outputs,
      loss === 'simdino'
        ? "without prototypes the head's output is its bottleneck"
        : outputs === 65536
          ? "the paper's"
          : 'few outputs for few images: more stay unused, and the loss sticks at ln K',
    );
    const isSmallHead = outDim <= 256;
    if (loss === 'dino' && isPaper) {
      this.#choose('warmupTeacherTemp', PAPER.warmupTeacherTemp, "the paper's");
      this.#choose('teacherTemp', PAPER.teacherTemp, "the paper's");
    } else if (loss === 'dino') {
      const start = this.#choose(
        'warmupTeacherTemp',
        0.02,
        'a sharp teacher: 0.04 leaves small runs at the uniform output',
      );
      // if the user chose a final value below the start, the warm-up would cool down
      const end = this.#choose(
        'teacherTemp',
        isSmallHead ? start : 0.035,
        isSmallHead ? 'stays sharp' : 'warmed up slowly',
      );
      const part = isInSteps
        ? round(epochs * 0.3, 3)
        : Math.min(epochs, Math.max(1, Math.round(epochs * 0.3)));
      const warmed = start === end ? 0 : part;
      this.#choose(
        'warmupTeacherTempEpochs',
        warmed,
        start === end ? 'constant temperature' : 'a third of the run',
      );
    }
    // Measured: on 40 photographs (200 steps) 0.98 ends near the uniform output (KL 0.33), 0.995 does not (KL 0.80).
    const momentum = images < 1000 ? 0.995 : round(clamp(1 - 8 / steps, 0.99, 0.996), 3);
    this.#choose(
      'momentumTeacher',
      momentum,
      images < 1000
        ? 'a slow teacher: with so few images a fast one drifts to the uniform output'
        : `the teacher averages over about an eighth of the run's ${thousands(steps)} steps`,
    );
    this.#choose('headHiddenDim', Math.min(2048, 4 * width), 'four times the width');
  }

  /** New weights learn fast; trained ones are handled with care (docs/adapt.md). */
  #chooseOptimization({ arch }: Network, { batch, epochs }: Length): void {
    const { overrides, recipe, isAdapting, isPaper } = this;
    const isLowRank = overrides.loraRank !== undefined;
    const isCautious = isAdapting && !ADAPTATION.sturdy.test(arch);
    const lrShare = !isCautious ? 1 : isLowRank ? ADAPTATION.loraLrShare : ADAPTATION.lrShare;
    const lr = round((recipe.settings.lr ?? PAPER.lr) * lrShare, 3);
    const peak = `peak of ${round((lr * batch) / 256, 3)} after scaling by ${batch}/256`;
    const isGentle = isCautious && !isLowRank;
    this.#choose('lr', lr, isGentle ? `${ADAPTATION.reason}: a ${peak}` : isPaper ? "the paper's" : peak);
    if (isCautious) {
      this.#choose(
        'freezeBackbone',
        round(epochs * ADAPTATION.frozenShare, 3),
        'until the head fits, the trained weights wait',
      );
      this.#choose(
        'backboneWarmupEpochs',
        round(epochs * ADAPTATION.warmupShare, 3),
        'then they move slowly at first',
      );
      this.#choose(
        'layerwiseDecay',
        ADAPTATION.layerwiseDecay,
        'layers near the image have the least to learn',
      );
      this.#choose('patchEmbedLrMult', ADAPTATION.patchEmbedLrMult, "DINOv2's: the first layer hardly moves");
    }
    this.#choose('precision', 'auto', 'the fastest of trial steps; fp32 unless another is clearly faster');
  }

  /** About how much memory all images take, decoded at every size that the crops ask for (decodedSize() in data/read). */
  #decodedBytes(): number {
    const { images, width, height } = this.facts;
    const { channels } = this.chosen;
    const smaller = 1.3; // 1 + 1/9 + 1/16 + ... + 1/64: what is cached at a third to an eighth of the sides as well
    const pixel = channels === undefined ? 3 * smaller : 2 * channels;
    return images * (width * height * pixel + 512);
  }

  /** What changes no result, then whatever else the recipe says. */
  #chooseRunning({ epochs }: Length): void {
    const { facts, recipe } = this;
    this.#choose('numWorkers', 'auto', 'found during training: as few as keep it from waiting');
    const needed = Math.max(1, Math.ceil(this.#decodedBytes() / 2 ** 20)); // MiB
    const room = (CACHED_SHARE * 1024 * facts.memoryGiB) / (facts.processes ?? 1);
    if (epochs >= 2 && needed <= room)
      this.#choose(
        'decodedCache',
        `${needed}MiB`,
        `all ${thousands(facts.images)} images fit, decoded: later epochs neither read nor decode them`,
      );
    this.#choose('saveckpFreq', 0, 'a short run: the newest checkpoint is enough');
    for (const name of Object.keys(recipe.settings) as SettingName[]) {
      const value = recipe.settings[name];
      if (value !== undefined && !BY_FORMULA.includes(name) && !this.choices.some((one) => one.name === name))
        this.#choose(name, value, recipe.reason);
    }
  }
}
