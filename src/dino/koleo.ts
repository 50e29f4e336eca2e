/**
 * The KoLeo regularizer (Sablayrolles et al. 2019; DINOv2, section 4; facebookresearch/dinov2 loss/koleo_loss.py): spreads
 * features evenly over the sphere by pushing each away from its nearest neighbour in the batch. With few images it keeps the
 * features from collapsing to a few directions. With several processes the neighbour is looked for among the images of all,
 * as DINOv3 does (facebookresearch/dinov3 loss/koleo_loss.py KoLeoLossDistributed); DINOv2 looks among each process's own.
 */
import { unitLength } from '../models/index.js';
import { eye, noGrad, ops, scope, type Tensor } from '../torch/index.js';
import type { DataParallel } from './data-parallel.js';
import { GLOBAL_CROPS, precise } from './objective.js';

const EPS = 1e-8;

/** Of one crop of each image: - mean of log of the distance to the nearest other. @param features - (B, D), any length. */
function ofCrop(features: Tensor): Tensor {
  const unit = unitLength(precise(features)); // (B, D)
  const nearest = noGrad(() => {
    const itself = eye(unit.size(0), { device: unit.device, dtype: unit.dtype }).mul(3);
    return ops.argmax(unit.matmul(unit.t()).sub(itself), 1); // (B)
  });
  const distance = ops.pairwiseDistance(unit, unit.indexSelect(0, nearest), 2, EPS); // (B)
  return distance.add(EPS).log().mean().neg();
}

/** (2 * size * B, D): the features of the global crops in all processes, crop by crop. */
function ofAll(features: Tensor, batch: number, parallel: DataParallel): Tensor {
  const own = precise(features.slice(0, 0, GLOBAL_CROPS * batch)).view([GLOBAL_CROPS, batch, -1]); // (2, B, D)
  return parallel.gather(own).flatten(0, 1);
}

/**
 * The mean over the two global crops and the whole batch, () float32; 0 for a batch of one image, which has no neighbour.
 *
 * @param features - (V * B, D) of the student, crop by crop, the two global ones first.
 * @param batch - B, this process's share of the images.
 * @param parallel - Set when other processes have the rest of the batch.
 */
export function koleoLoss(features: Tensor, batch: number, parallel?: DataParallel): Tensor {
  return scope(() => {
    const images = batch * (parallel?.size ?? 1);
    if (images < 2) return precise(features).sum().mul(0);
    const all = parallel === undefined ? features : ofAll(features, batch, parallel);
    const [first, second] = [0, 1].map((crop) =>
      ofCrop(all.slice(0, crop * images, (crop + 1) * images)),
    ) as [Tensor, Tensor];
    return first.add(second).div(2);
  });
}
