/**
 * One step in many processes, each with its part of the batch (reference: main_dino.py's DistributedDataParallel,
 * SyncBatchNorm and DINOLoss.update_center): gradients, batch statistics, centre and numbers are those of the whole batch.
 */
import { type Module, synchronizeBatchNorm } from '../nn/index.js';
import { GradientReducer, noGrad, ops, type ProcessGroup, type Tensor } from '../torch/index.js';

export class DataParallel {
  readonly #group: ProcessGroup;
  readonly #reducer: GradientReducer;

  /** Collective; the networks have the same weights everywhere. */
  constructor(group: ProcessGroup, student: Module, teacher: Module) {
    for (const network of [student, teacher]) synchronizeBatchNorm(network, group);
    this.#group = group;
    this.#reducer = new GradientReducer(
      [...student.parameters()].filter((parameter) => parameter.requiresGrad),
      group,
    );
  }

  /** The gradients of the next backward pass, and what they add up to, are reduced while it goes on. */
  prepareBackward(): void {
    this.#reducer.prepare();
  }

  /** Every gradient is the mean over the processes afterwards. */
  finishBackward(): void {
    this.#reducer.finish();
  }

  /** Means over the processes, of all tensors at once. Shapes stay. */
  means(tensors: readonly Tensor[]): Tensor[] {
    return noGrad(() => {
      const flat = ops.cat(tensors.map((tensor) => tensor.flatten()));
      this.#group.allReduceSync(flat);
      const parts = flat.div_(this.#group.size).splitWithSizes(tensors.map(({ numel }) => numel));
      return parts.map((part, i) => part.view((tensors[i] as Tensor).shape));
    });
  }

  dispose(): void {
    this.#reducer.close();
  }
}
