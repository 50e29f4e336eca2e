/**
 * One step across several processes, each with its part of the batch (reference: main_dino.py's DistributedDataParallel,
 * SyncBatchNorm and DINOLoss.update_center): gradients, batch statistics, centre and metrics are those of the whole batch.
 */
import { type Module, synchronizeBatchNorm } from '../nn/index.js';
import { GradientReducer, noGrad, ops, type ProcessGroup, type Tensor } from '../torch/index.js';

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

  dispose(): void {
    this.#reducer.close();
  }
}
