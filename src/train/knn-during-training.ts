/** k-NN accuracy of the teacher while it trains: `--knn-every`, `--knn-train`, `--knn-val`. */
import path from 'node:path';
import { evaluateKnn, type KnnResult } from '../eval/knn.js';
import { labelledPair } from '../eval/labelled.js';
import { readLines } from '../files/json-lines.js';
import { type Backbone, hasTokens } from '../models/index.js';
import { metricsPath } from '../run/run-folder.js';
import type { TrainSettings } from '../run/settings.js';
import type { World } from '../processes/world.js';

/** Values of k: the reference's two smaller ones, which suit data sets of any size. */
const NEIGHBOURS = [10, 20];

type KnnSettings = Pick<TrainSettings, 'knnEvery' | 'knnTrain' | 'knnVal'>;

/** The labelled images with absolute paths, which stay valid when the run is resumed from another folder. */
export const absoluteKnnImages = (settings: KnnSettings): Pick<KnnSettings, 'knnTrain' | 'knnVal'> =>
  Object.fromEntries(
    (['knnTrain', 'knnVal'] as const).flatMap((name) => {
      const place = settings[name];
      return place === undefined ? [] : [[name, path.resolve(place)]];
    }),
  );

/** Lists the labelled images, before anything starts. @throws DataError when they are missing, or have no labels. */
export async function checkKnnImages({ knnEvery, knnTrain, knnVal }: KnnSettings): Promise<void> {
  if (knnEvery === 0 || knnTrain === undefined || knnVal === undefined) return;
  await labelledPair(knnTrain, knnVal, { train: '--knn-train', val: '--knn-val' });
}

/** Whether k-NN is due after `step` steps: after every `knnEvery` epochs, and at the end of a run that ends within one. */
export function isKnnDue(
  step: number,
  { knnEvery, init }: TrainSettings,
  { stepsPerEpoch, totalSteps }: { stepsPerEpoch: number; totalSteps: number },
): boolean {
  if (knnEvery === 0) return false;
  if (step === 0) return init !== undefined; // what training has to beat
  return step % stepsPerEpoch === 0 ? (step / stepsPerEpoch) % knnEvery === 0 : step === totalSteps;
}

/** For a stop in the middle of it: the weights are kept only at the end of a run, where a resume makes good for it. */
export const knnCutShort = (step: number, isEnd: boolean): string =>
  `k-NN after step ${step} was cut short: ${isEnd ? 'resuming the run measures it' : 'a resume goes on without it'}`;

/** Whether the log of a run lacks the k-NN of its last step: the run was stopped before it, or in it. */
export const lacksKnn = (run: string, step: number): boolean =>
  !readLines(metricsPath(run)).some((line) => line['step'] === step && 'top1' in line);

/**
 * The teacher's backbone classifies `knnVal` by its neighbours in `knnTrain`, at the size of the global crops. The remarks say
 * which images are left out.
 */
export async function evaluateDuringTraining(
  backbone: Backbone,
  settings: TrainSettings & { numWorkers: number },
  world: World,
  signal: AbortSignal | undefined,
): Promise<Pick<KnnResult, 'top1' | 'top5' | 'center' | 'pca' | 'classes' | 'remarks'>> {
  const { knnTrain, knnVal, device, numWorkers, globalCropsSize: imgSize } = settings;
  if (knnTrain === undefined || knnVal === undefined)
    return { top1: {}, top5: {}, center: null, pca: null, classes: 0, remarks: [] }; // refused by checkSettings()
  // the evaluation needs only the sizes of the architecture; patches limit them
  const architecture = { imgSize, patchSize: hasTokens(backbone) ? backbone.patchSize : 1 };
  backbone.eval();
  try {
    const { top1, top5, center, pca, classes, skipped, remarks } = await evaluateKnn(
      { backbone, architecture, device },
      {
        train: knnTrain,
        val: knnVal,
        k: NEIGHBOURS,
        numWorkers,
        world,
        signal: world.size > 1 ? undefined : signal,
      },
    );
    const [first] = skipped;
    const unread =
      first === undefined
        ? []
        : [`k-NN: ${skipped.length} images can't be read, the first is ${first.path}: ${first.reason}`];
    return { top1, top5, center, pca, classes, remarks: [...unread, ...remarks] };
  } finally {
    backbone.train();
  }
}
