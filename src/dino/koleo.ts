/**
 * The KoLeo regularizer (Sablayrolles et al. 2019; DINOv2, section 4; facebookresearch/dinov2 loss/koleo_loss.py): spreads
 * features evenly over the sphere by pushing each away from its nearest neighbour in the batch. With few images it keeps the
 * features from collapsing to a few directions.
 */
import { unitLength } from '../models/index.js';
import { eye, noGrad, ops, scope, type Tensor } from '../torch/index.js';
import { precise } from './objective.js';

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

/**
 * The mean over the two global crops, () float32; 0 for a batch of one image, which has no neighbour.
 *
 * @param features - (V * B, D) of the student, crop by crop, the two global ones first.
 * @param batch - B.
 */
export function koleoLoss(features: Tensor, batch: number): Tensor {
  return scope(() => {
    if (batch < 2) return precise(features).sum().mul(0);
    const [first, second] = [0, 1].map((crop) =>
      ofCrop(features.slice(0, crop * batch, (crop + 1) * batch)),
    ) as [Tensor, Tensor];
    return first.add(second).div(2);
  });
}
