/**
 * The loss of SimDINO (Wu et al. 2025; RobinWu218/SimDINO main_dino.py MCRLoss with expa_type 0): views of an image are drawn
 * together by the cosine of their outputs, and a batch is kept apart by its coding rate, in place of prototypes, centre and
 * temperatures. The centre is only watched: 1 long, all outputs are the same. With several processes the coding rate is that
 * of the whole batch, as there with reduce_cov 1; by default each process there takes its own images alone.
 */
import { eye, noGrad, ops, scope, type Tensor } from '../torch/index.js';
import type { DataParallel } from './data-parallel.js';
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

/** Of matrices of one shape the sums over the processes, in one collective. */
function sums(own: [Tensor, Tensor], parallel: DataParallel | undefined): [Tensor, Tensor] {
  if (parallel === undefined) return own;
  const all = parallel.sum(ops.stack(own)); // (2, K, K)
  return [all.select(0, 0), all.select(0, 1)];
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
  override forward(
    student: Tensor,
    teacher: Tensor,
    _teacherTemp?: number,
    parallel?: DataParallel,
  ): ObjectiveResult {
    const batch = this.batchOf(student, teacher);
    return scope(() => {
      const outputs = precise(student).view([this.crops, batch, -1]); // (V, B, K)
      const aims = precise(teacher); // (2 B, K)
      const compression = this.agreement(outputs, aims).div(this.pairs * batch);
      const own = [0, 1].map((view) => {
        const z = outputs.select(0, view); // (B, K)
        return z.t().matmul(z); // (K, K)
      }) as [Tensor, Tensor];
      const whole = batch * (parallel?.size ?? 1);
      const rates = sums(own, parallel).map((gram) => this.#codingRate(gram, whole)) as [Tensor, Tensor];
      const expansion = rates[0].add(rates[1]).div(GLOBAL_CROPS);
      const loss = compression.mul(-this.#compressionWeight).sub(expansion);
      return { loss, targets: noGrad(() => aims.pow(2)) };
    });
  }

  /**
   * Half the log determinant of I + K / (B eps) Z^T Z, weighted against the compression as there.
   * @param gram - (K, K) Z^T Z.
   * @param batch - B, of all processes.
   */
  #codingRate(gram: Tensor, batch: number): Tensor {
    const k = gram.size(0);
    const scale = k / (batch * this.#eps);
    const identity = eye(k, { device: gram.device, dtype: gram.dtype });
    // without a check, for which the host would wait: what isn't finite shows in the loss
    const [factor] = ops.linalgCholeskyEx(gram.mul(scale).add(identity));
    const halfLogDet = factor.diagonal().log().sum();
    return halfLogDet.mul((k + batch) / (k * batch));
  }
}
