/** k-NN accuracy of the teacher while it trains: `--knn-every`, `--knn-train`, `--knn-val`. */
import { evaluateKnn, type KnnResult } from '../eval/knn.js';
import { type Backbone, hasTokens } from '../models/index.js';
import type { TrainSettings } from '../run/settings.js';
import type { World } from '../processes/world.js';

/** Values of k: the reference's two smaller ones, which suit data sets of any size. */
const NEIGHBOURS = [10, 20];

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
