/**
 * The DINO loss (paper, equations 1 and 2, and section 3.1 "Avoiding collapse"; reference: main_dino.py DINOLoss).
 *
 * The teacher's outputs are centred and sharpened into targets, the student's are softmaxed at a higher temperature, and
 * every student view is asked for what every *other* global view's teacher said. The reference walks the pairs one by
 * one with a log-softmax in each; here each student view has one log-softmax and meets the sum of its targets, which is
 * the same sum in another order.
 */
import { ShapeError } from '../errors.js';
import { noGrad, scope, zeros, type Tensor } from '../torch/index.js';

/** Views that the teacher sees. */
const GLOBAL_CROPS = 2;

/** The loss is float32 whatever the networks compute in, and float64 for what is that. */
const precise = (x: Tensor): Tensor => (x.dtype === 'float64' ? x : x.to('float32'));

export interface DINOLossOptions {
  /** K, width of the head's output. */
  outDim: number;
  /** Views in all: the two global ones and the local ones. */
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
  /** (2 * B, K), the teacher's softmax: what the collapse monitor looks at. */
  targets: Tensor;
}

export class DINOLoss {
  /** (1, K) float32: running mean of the teacher's outputs, subtracted before its softmax. */
  readonly center: Tensor;
  readonly #crops: number;
  readonly #studentTemp: number;
  readonly #centerMomentum: number;

  constructor({ outDim, crops, studentTemp = 0.1, centerMomentum = 0.9, device = 'cpu' }: DINOLossOptions) {
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
   * @throws ShapeError when the shapes don't belong together.
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
      // view 0 answers to the second teacher, view 1 to the first, local views to both
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
   * Moves the centre towards the batch's mean (paper, equation 4). The loss has used the old one by then.
   *
   * @param teacher - (2 * B, K) raw outputs, or their mean from batchCenter().
   */
  updateCenter(teacher: Tensor): void {
    scope(() =>
      noGrad(() => {
        this.center
          .mul_(this.#centerMomentum)
          .add_(this.batchCenter(teacher), { alpha: 1 - this.#centerMomentum });
      }),
    );
  }

  /** (1, K) mean of the teacher's raw outputs, (2 * B, K). */
  batchCenter(teacher: Tensor): Tensor {
    return noGrad(() => precise(teacher).mean([0], true));
  }

  dispose(): void {
    this.center.dispose();
  }
}
