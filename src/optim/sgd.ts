/**
 * Stochastic gradient descent with momentum like torch.optim.SGD (no dampening, not Nesterov), using libtorch's fused kernel.
 * The reference uses it for convolutional networks and linear probes, with momentum 0.9.
 */
import { ops, zeros, type Parameter, type Tensor } from '../torch/index.js';
import { Optimizer, type Updates } from './optimizer.js';
import type { ParameterGroup } from './parameters.js';
import { foundInf } from './taken.js';

type Slot = 'momentum_buffer';

export class SGD extends Optimizer<Slot> {
  protected override slotsOf(): readonly Slot[] {
    return ['momentum_buffer'];
  }

  readonly #momentum: number;

  /** @param options - `momentum`, 0 to 1, default 0.9. */
  constructor(groups: readonly ParameterGroup[], options: { momentum?: number } = {}) {
    super(groups);
    this.#momentum = options.momentum ?? 0.9;
  }

  protected override initialState(parameter: Parameter): Record<Slot, Tensor> {
    return { momentum_buffer: zeros(parameter.shape, { device: parameter.device }) };
  }

  protected override update(
    { parameters, gradients, states }: Updates<Slot>,
    lr: number,
    weightDecay: number,
    taken: Tensor | undefined,
  ): void {
    ops._fusedSgd_(
      parameters,
      gradients,
      states.map((state) => state.momentum_buffer),
      {
        lr,
        weightDecay,
        momentum: this.#momentum,
        dampening: 0,
        nesterov: false,
        maximize: false,
        foundInf: foundInf(taken),
        isFirstStep: false, // the buffer starts at zero, which gives the same as torch's first step
      },
    );
  }
}
