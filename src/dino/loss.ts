/**
 * The DINO loss (paper, equations 1 and 2, and section 3.1 "Avoiding collapse"; reference: main_dino.py DINOLoss).
 *
 * The teacher's outputs are centred and sharpened into targets, the student's go through a softmax at a higher temperature,
 * and every student view must predict the teacher's output for every *other* global view. The reference loops over the
 * pairs and computes a log-softmax in each; here each student view has one log-softmax, multiplied by the sum of its
 * targets: the same sum in a different order.
 */
import { ShapeError } from '../errors.js';
import { noGrad, scope, zeros, type Tensor } from '../torch/index.js';

/** Views that the teacher sees. */
export const GLOBAL_CROPS = 2;

/** The loss is float32 whatever precision the networks compute in, except that float64 stays float64. */
export const precise = (x: Tensor): Tensor => (x.dtype === 'float64' ? x : x.to('float32'));

export interface DINOLossOptions {
  /** K, width of the head's output. */
  outDim: number;
  /** Total number of views: the two global ones and the local ones. */
  crops: number;
  /** Student's temperature; default 0.1. */
  studentTemp?: number;
  /** Share of the old centre that each step keeps; default 0.9. */
  centerMomentum?: number;
  /** Default 'cpu'. */
  device?: string;
}

export interface DINOLossResult {
  /** (), with gradient towards the student. */
  loss: Tensor;
  /** (2 * B, K), the teacher's softmax; the collapse monitor uses it. */
  targets: Tensor;
}

/** What a step minimizes: DINOLoss, or CodingRateLoss. */
export interface Objective {
  /** (1, K) float32: running mean of the teacher's outputs. */
  readonly center: Tensor;
  forward(student: Tensor, teacher: Tensor, teacherTemp: number): DINOLossResult;
  /** Moves the centre towards the batch's mean. @param teacher - (2 * B, K), or its mean from batchCenter(). */
  updateCenter(teacher: Tensor): void;
  /** (1, K) mean of the teacher's outputs, (2 * B, K). */
  batchCenter(teacher: Tensor): Tensor;
  dispose(): void;
}

/** Share of the old centre that each step keeps. */
const CENTER_MOMENTUM = 0.9;

export function movingCenter(center: Tensor, mean: Tensor, momentum = CENTER_MOMENTUM): void {
  scope(() =>
    noGrad(() => {
      center.mul_(momentum).add_(mean, { alpha: 1 - momentum });
    }),
  );
}

export class DINOLoss implements Objective {
  /** (1, K) float32: running mean of the teacher's outputs, subtracted before its softmax. */
  readonly center: Tensor;
  readonly #crops: number;
  readonly #studentTemp: number;
  readonly #centerMomentum: number;

  constructor(options: DINOLossOptions) {
    const { outDim, crops, studentTemp = 0.1, centerMomentum = CENTER_MOMENTUM, device = 'cpu' } = options;
    if (crops < GLOBAL_CROPS) throw new ShapeError(`DINOLoss: expected at least 2 crops, got ${crops}`);
    this.center = zeros([1, outDim], { device }).keep();
    this.#crops = crops;
    this.#studentTemp = studentTemp;
    this.#centerMomentum = centerMomentum;
  }

  /**
   * @param student - (crops * B, K) raw outputs, crop by crop, the two global ones first.
   * @param teacher - (2 * B, K) raw outputs for the two global crops.
   * @param teacherTemp - Teacher's temperature in this epoch.
   * @throws ShapeError when the shapes don't match.
   */
  forward(student: Tensor, teacher: Tensor, teacherTemp: number): DINOLossResult {
    const [rows = 0, k = 0] = teacher.shape;
    const batch = rows / GLOBAL_CROPS;
    if (student.shape[0] !== batch * this.#crops || student.shape[1] !== k || k !== this.center.shape[1]) {
      throw new ShapeError(
        `DINOLoss: expected student [${this.#crops} * B, K] and teacher [2 * B, K] with K = ${this.center.shape[1]}, ` +
          `got student ${student.toString()} and teacher ${teacher.toString()}`,
      );
    }
    return scope(() => {
      const targets = noGrad(() => precise(teacher).sub(this.center).div(teacherTemp).softmax(-1)); // (2 B, K)
      const [first, second] = targets.chunk(GLOBAL_CROPS) as [Tensor, Tensor]; // (B, K) each

      const logProbs = precise(student).div(this.#studentTemp).logSoftmax(-1).view([this.#crops, batch, k]); // (V, B, K)
      // view 0 is compared with the second teacher view, view 1 with the first, local views with both
      let agreement = logProbs.select(0, 0).mul(second).sum().add(logProbs.select(0, 1).mul(first).sum());
      if (this.#crops > GLOBAL_CROPS) {
        const both = noGrad(() => first.add(second)); // (B, K)
        agreement = agreement.add(logProbs.slice(0, GLOBAL_CROPS).mul(both).sum());
      }
      const terms = GLOBAL_CROPS * (this.#crops - 1);
      return { loss: agreement.div(-terms * batch), targets };
    });
  }

  /**
   * Moves the centre towards the batch's mean (paper, equation 4). Call it after forward(), which uses the old centre.
   *
   * @param teacher - (2 * B, K) raw outputs, or their mean from batchCenter().
   */
  updateCenter(teacher: Tensor): void {
    scope(() => movingCenter(this.center, this.batchCenter(teacher), this.#centerMomentum));
  }

  /** (1, K) mean of the teacher's raw outputs, (2 * B, K). */
  batchCenter(teacher: Tensor): Tensor {
    return noGrad(() => precise(teacher).mean([0], true));
  }

  dispose(): void {
    this.center.dispose();
  }
}
