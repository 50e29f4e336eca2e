/**
 * One step across several processes, each with its part of the batch (reference: main_dino.py's DistributedDataParallel,
 * SyncBatchNorm and DINOLoss.update_center): gradients, batch statistics, centre and metrics are those of the whole batch,
 * and so are the losses that compare its images with each other (SimDINO's coding rate, KoLeo).
 */
import { type Module, synchronizeBatchNorm } from '../nn/index.js';
import { GradientReducer, noGrad, ops, type ProcessGroup, scope, type Tensor } from '../torch/index.js';

export class DataParallel {
  readonly #group: ProcessGroup;
  readonly #reducer: GradientReducer;

  /** Collective. The networks must have the same weights in every process. */
  constructor(group: ProcessGroup, student: Module, teacher: Module) {
    for (const network of [student, teacher]) synchronizeBatchNorm(network, group);
    this.#group = group;
    this.#reducer = new GradientReducer(
      [...student.parameters()].filter((parameter) => parameter.requiresGrad),
      group,
    );
  }

  /** Number of processes. */
  get size(): number {
    return this.#group.size;
  }

  /** Call before the last backward pass of a step: the accumulated gradients are reduced while it runs. */
  prepareBackward(): void {
    this.#reducer.prepare();
  }

  /** Waits for the reduction; every gradient is then the mean over the processes. */
  finishBackward(): void {
    this.#reducer.finish();
  }

  /** Means over the processes, of all tensors in one collective. Shapes are kept. */
  means(tensors: readonly Tensor[]): Tensor[] {
    return noGrad(() => {
      const flat = ops.cat(tensors.map((tensor) => tensor.flatten()));
      this.#group.allReduceSync(flat);
      const parts = flat.div_(this.#group.size).splitWithSizes(tensors.map(({ numel }) => numel));
      return parts.map((part, i) => part.view((tensors[i] as Tensor).shape));
    });
  }

  /**
   * The sum over the processes, for a loss of the whole batch that each of them computes. Its gradient towards this
   * process's `x` is `size` times the sum's, since finishBackward() takes the mean of what are shares of one gradient. So it
   * is with torch.distributed.nn.all_reduce, which adds up the equal gradients of all processes.
   */
  sum(x: Tensor): Tensor {
    return scope(() => {
      const total = noGrad(() => x.contiguous().clone());
      this.#group.allReduceSync(total);
      return x.sub(x.detach()).mul(this.size).add(total); // x less itself is 0, with the gradient of x
    });
  }

  /**
   * The images of all processes, by rank, with sum()'s gradient.
   *
   * @param x - (V, B, D), of the same shape in every process.
   * @returns (V, size * B, D)
   */
  gather(x: Tensor): Tensor {
    const { rank, size } = this.#group;
    const batch = x.size(1);
    return scope(() => this.sum(ops.constantPadNd(x, [0, 0, rank * batch, (size - 1 - rank) * batch])));
  }

  dispose(): void {
    this.#reducer.close();
  }
}
