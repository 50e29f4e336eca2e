/**
 * The loss of SimDINO (Wu et al. 2025; RobinWu218/SimDINO main_dino.py MCRLoss with expa_type 0): views of an image are drawn
 * together by the cosine of their outputs, and a batch is kept apart by its coding rate, in place of prototypes, centre and
 * temperatures.
 */
import { ShapeError } from '../errors.js';
import { eye, noGrad, ops, scope, zeros, type Tensor } from '../torch/index.js';
import { GLOBAL_CROPS, movingCenter, precise, type DINOLossResult, type Objective } from './loss.js';

export interface CodingRateLossOptions {
  /** D, width of the head's output. */
  outDim: number;
  /** Total number of views: the two global ones and the local ones. */
  crops: number;
  /** Weight of the compression term over that of the coding rate (`coeff` there); default 1. */
  compressionWeight?: number;
  /** Squared precision of the code (`eps` there); default 0.5. */
  eps?: number;
  /** Default 'cpu'. */
  device?: string;
}

export class CodingRateLoss implements Objective {
  /** (1, D) float32: running mean of the teacher's outputs. It is only watched: 1 long, all outputs are the same. */
  readonly center: Tensor;
  readonly #crops: number;
  readonly #compressionWeight: number;
  readonly #eps: number;

  constructor(options: CodingRateLossOptions) {
    const { outDim, crops, compressionWeight = 1, eps = 0.5, device = 'cpu' } = options;
    if (crops < GLOBAL_CROPS) throw new ShapeError(`CodingRateLoss: expected at least 2 crops, got ${crops}`);
    this.center = zeros([1, outDim], { device }).keep();
    this.#crops = crops;
    this.#compressionWeight = compressionWeight;
    this.#eps = eps;
  }

  /**
   * @param student - (crops * B, D) of length 1, crop by crop, the two global ones first.
   * @param teacher - (2 * B, D) of length 1, for the two global crops.
   * @returns As `targets` the squares of the teacher's outputs, (2 * B, D), which sum to 1: the collapse monitor sees from
   *   them whether an output depends on the image.
   * @throws ShapeError when the shapes don't match.
   */
  forward(student: Tensor, teacher: Tensor): DINOLossResult {
    const [rows = 0, d = 0] = teacher.shape;
    const batch = rows / GLOBAL_CROPS;
    if (student.shape[0] !== batch * this.#crops || student.shape[1] !== d || d !== this.center.shape[1]) {
      throw new ShapeError(
        `CodingRateLoss: expected student [${this.#crops} * B, D] and teacher [2 * B, D] with D = ${this.center.shape[1]}, ` +
          `got student ${student.toString()} and teacher ${teacher.toString()}`,
      );
    }
    return scope(() => {
      const outputs = precise(student).view([this.#crops, batch, d]); // (V, B, D)
      const [first, second] = precise(teacher).chunk(GLOBAL_CROPS) as [Tensor, Tensor]; // (B, D) each
      // view 0 is compared with the second teacher view, view 1 with the first, local views with both
      let likeness = outputs.select(0, 0).mul(second).sum().add(outputs.select(0, 1).mul(first).sum());
      if (this.#crops > GLOBAL_CROPS)
        likeness = likeness.add(
          outputs
            .slice(0, GLOBAL_CROPS)
            .mul(noGrad(() => first.add(second)))
            .sum(),
        );
      const compression = likeness.div(GLOBAL_CROPS * (this.#crops - 1) * batch);
      const rates = [0, 1].map((view) => this.#codingRate(outputs.select(0, view))) as [Tensor, Tensor];
      const expansion = rates[0].add(rates[1]).div(GLOBAL_CROPS);
      const loss = compression.mul(-this.#compressionWeight).sub(expansion);
      return { loss, targets: noGrad(() => precise(teacher).pow(2)) };
    });
  }

  /** Half the log determinant of I + D / (B eps) Z^T Z, weighted against the compression as there. @param z - (B, D). */
  #codingRate(z: Tensor): Tensor {
    const [batch = 0, d = 0] = z.shape;
    const gram = z
      .t()
      .matmul(z)
      .mul(d / (batch * this.#eps)); // (D, D)
    const factor = ops.linalgCholesky(gram.add(eye(d, { device: z.device, dtype: z.dtype })));
    return factor
      .diagonal()
      .log()
      .sum()
      .mul((d + batch) / (d * batch));
  }

  updateCenter(teacher: Tensor): void {
    movingCenter(this.center, this.batchCenter(teacher));
  }

  batchCenter(teacher: Tensor): Tensor {
    return noGrad(() => precise(teacher).mean([0], true));
  }

  dispose(): void {
    this.center.dispose();
  }
}
