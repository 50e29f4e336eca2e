/**
 * What the two losses share: how the teacher's and the student's views of an image are paired (paper, equation 3), and the
 * running mean of the teacher's outputs (equation 4).
 */
import { ShapeError } from '../errors.js';
import { takeBack } from '../optim/index.js';
import { noGrad, scope, zeros, type Tensor } from '../torch/index.js';
import type { DataParallel } from './data-parallel.js';

/** Views that the teacher sees. */
export const GLOBAL_CROPS = 2;

/** A loss is float32 whatever precision the networks compute in, except that float64 stays float64. */
export const precise = (x: Tensor): Tensor => (x.dtype === 'float64' ? x : x.to('float32'));

export interface ObjectiveOptions {
  /** K, width of the head's output. */
  outDim: number;
  /** Total number of views: the two global ones and the local ones. */
  crops: number;
  /** Share of the old centre that each step keeps; default 0.9. */
  centerMomentum?: number;
  /** Default 'cpu'. */
  device?: string;
}

export interface ObjectiveResult {
  /** (), with gradient towards the student. */
  loss: Tensor;
  /** (2 * B, K), rows sum to 1; the collapse monitor uses it. */
  targets: Tensor;
}

/** What a step minimizes: DINOLoss, or CodingRateLoss. */
export abstract class Objective {
  /** (1, K) float32: running mean of the teacher's outputs. */
  readonly center: Tensor;
  protected readonly crops: number;
  readonly #centerMomentum: number;

  constructor({ outDim, crops, centerMomentum = 0.9, device = 'cpu' }: ObjectiveOptions) {
    if (crops < GLOBAL_CROPS)
      throw new ShapeError(`${new.target.name}: expected at least 2 crops, got ${crops}`);
    this.center = zeros([1, outDim], { device }).keep();
    this.crops = crops;
    this.#centerMomentum = centerMomentum;
  }

  /**
   * @param student - (crops * B, K) outputs, crop by crop, the two global ones first.
   * @param teacher - (2 * B, K) outputs for the two global crops.
   * @param teacherTemp - Teacher's temperature in this epoch, if it has one.
   * @param parallel - Set when other processes have the rest of the batch. The loss is a mean over this process's images
   *   but for what depends on several images, which is of the whole batch.
   * @throws ShapeError when the shapes don't match.
   */
  abstract forward(
    student: Tensor,
    teacher: Tensor,
    teacherTemp: number,
    parallel?: DataParallel,
  ): ObjectiveResult;

  /** B, the number of images. @throws ShapeError when the shapes don't match. */
  protected batchOf(student: Tensor, teacher: Tensor): number {
    const [rows = 0, k = 0] = teacher.shape;
    const batch = rows / GLOBAL_CROPS;
    if (student.shape[0] === batch * this.crops && student.shape[1] === k && k === this.center.shape[1])
      return batch;
    throw new ShapeError(
      `${this.constructor.name}: expected student [${this.crops} * B, K] and teacher [2 * B, K] with K = ${this.center.shape[1]}, ` +
        `got student ${student.toString()} and teacher ${teacher.toString()}`,
    );
  }

  /**
   * The sum of the products of each student view with each *other* global view of the teacher: view 0 is compared with the
   * second teacher view, view 1 with the first, local views with both.
   *
   * @param student - (crops, B, K)
   * @param teacher - (2 * B, K), without gradient.
   * @returns () of `pairs` * B products.
   */
  protected agreement(student: Tensor, teacher: Tensor): Tensor {
    const [first, second] = teacher.chunk(GLOBAL_CROPS) as [Tensor, Tensor]; // (B, K) each
    const globals = student.select(0, 0).mul(second).sum().add(student.select(0, 1).mul(first).sum());
    if (this.crops === GLOBAL_CROPS) return globals;
    const both = noGrad(() => first.add(second)); // (B, K)
    return globals.add(student.slice(0, GLOBAL_CROPS).mul(both).sum());
  }

  /** Pairs of views that are compared. */
  protected get pairs(): number {
    return GLOBAL_CROPS * (this.crops - 1);
  }

  /**
   * Moves the centre towards the batch's mean. Call it after forward(), which uses the old centre.
   *
   * @param teacher - (2 * B, K) outputs, or their mean from batchCenter().
   * @param taken - () float32 on its device: with 0 the centre stays where it is. Default: 1.
   */
  updateCenter(teacher: Tensor, taken?: Tensor): void {
    scope(() =>
      noGrad(() => {
        const before = taken === undefined ? null : this.center.clone();
        this.center
          .mul_(this.#centerMomentum)
          .add_(this.batchCenter(teacher), { alpha: 1 - this.#centerMomentum });
        if (taken !== undefined && before !== null) takeBack(taken, [this.center], [before]);
      }),
    );
  }

  /** (1, K) mean of the teacher's outputs, (2 * B, K). */
  batchCenter(teacher: Tensor): Tensor {
    return noGrad(() => precise(teacher).mean([0], true));
  }

  dispose(): void {
    this.center.dispose();
  }
}
