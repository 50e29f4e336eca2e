/**
 * The loss of SimDINO (Wu et al. 2025; RobinWu218/SimDINO main_dino.py MCRLoss with expa_type 0): views of an image are drawn
 * together by the cosine of their outputs, and a batch is kept apart by its coding rate, in place of prototypes, centre and
 * temperatures. The centre is only watched: 1 long, all outputs are the same.
 */
import { eye, noGrad, ops, scope, type Tensor } from '../torch/index.js';
import {
  GLOBAL_CROPS,
  Objective,
  type ObjectiveOptions,
  type ObjectiveResult,
  precise,
} from './objective.js';

export interface CodingRateLossOptions extends ObjectiveOptions {
  /** Weight of the compression term over that of the coding rate (`coeff` there); default 1. */
  compressionWeight?: number;
  /** Squared precision of the code (`eps` there); default 0.5. */
  eps?: number;
}

export class CodingRateLoss extends Objective {
  readonly #compressionWeight: number;
  readonly #eps: number;

  constructor({ compressionWeight = 1, eps = 0.5, ...options }: CodingRateLossOptions) {
    super(options);
    this.#compressionWeight = compressionWeight;
    this.#eps = eps;
  }

  /**
   * Of outputs of length 1.
   * @returns As `targets` the squares of the teacher's outputs, which sum to 1: the collapse monitor sees from them whether
   *   an output depends on the image.
   */
  override forward(student: Tensor, teacher: Tensor): ObjectiveResult {
    const batch = this.batchOf(student, teacher);
    return scope(() => {
      const outputs = precise(student).view([this.crops, batch, -1]); // (V, B, K)
      const aims = precise(teacher); // (2 B, K)
      const compression = this.agreement(outputs, aims).div(this.pairs * batch);
      const rates = [0, 1].map((view) => this.#codingRate(outputs.select(0, view))) as [Tensor, Tensor];
      const expansion = rates[0].add(rates[1]).div(GLOBAL_CROPS);
      const loss = compression.mul(-this.#compressionWeight).sub(expansion);
      return { loss, targets: noGrad(() => aims.pow(2)) };
    });
  }

  /** Half the log determinant of I + K / (B eps) Z^T Z, weighted against the compression as there. @param z - (B, K). */
  #codingRate(z: Tensor): Tensor {
    const [batch = 0, k = 0] = z.shape;
    const scale = k / (batch * this.#eps);
    const gram = z.t().matmul(z).mul(scale); // (K, K)
    // without a check, for which the host would wait: what isn't finite shows in the loss
    const [factor] = ops.linalgCholeskyEx(gram.add(eye(k, { device: z.device, dtype: z.dtype })));
    const halfLogDet = factor.diagonal().log().sum();
    return halfLogDet.mul((k + batch) / (k * batch));
  }
}
