/**
 * The DINO loss (paper, equations 1 and 2, and section 3.1 "Avoiding collapse"; reference: main_dino.py DINOLoss).
 *
 * The teacher's outputs are centred and sharpened into targets, the student's go through a softmax at a higher temperature,
 * and every student view must predict the teacher's output for every *other* global view. The reference loops over the
 * pairs and computes a log-softmax in each; here each student view has one log-softmax, multiplied by the sum of its
 * targets: the same sum in a different order.
 */
import { noGrad, scope, type Tensor } from '../torch/index.js';
import { Objective, type ObjectiveOptions, type ObjectiveResult, precise } from './objective.js';

export interface DINOLossOptions extends ObjectiveOptions {
  /** Student's temperature; default 0.1. */
  studentTemp?: number;
}

export class DINOLoss extends Objective {
  readonly #studentTemp: number;

  constructor({ studentTemp = 0.1, ...options }: DINOLossOptions) {
    super(options);
    this.#studentTemp = studentTemp;
  }

  /** Of raw outputs. @returns As `targets` the teacher's softmax, from whose outputs the centre was subtracted. */
  override forward(student: Tensor, teacher: Tensor, teacherTemp: number): ObjectiveResult {
    const batch = this.batchOf(student, teacher);
    return scope(() => {
      const targets = noGrad(() => precise(teacher).sub(this.center).div(teacherTemp).softmax(-1)); // (2 B, K)
      const logProbs = precise(student).div(this.#studentTemp).logSoftmax(-1).view([this.crops, batch, -1]); // (V, B, K)
      return { loss: this.agreement(logProbs, targets).div(-this.pairs * batch), targets };
    });
  }
}
