/**
 * AdamW (Loshchilov and Hutter 2019) with torch.optim.AdamW's defaults, using libtorch's fused kernel: one pass over each
 * parameter.
 */
import { ops, tensor, zeros, type Parameter, type Tensor } from '../torch/index.js';
import { Optimizer, type Updates } from './optimizer.js';

type Slot = 'step' | 'exp_avg' | 'exp_avg_sq';

export class AdamW extends Optimizer<Slot> {
  protected override readonly slots = ['step', 'exp_avg', 'exp_avg_sq'] as const;
  readonly #beta1 = 0.9;
  readonly #beta2 = 0.999;
  readonly #eps = 1e-8;

  protected override initialState(parameter: Parameter): Record<Slot, Tensor> {
    const { device, shape } = parameter;
    const dtype = parameter.dtype === 'float64' ? 'float64' : 'float32';
    return {
      step: tensor(0, { device }), // (), float32, as the fused kernel requires
      exp_avg: zeros(shape, { device, dtype }),
      exp_avg_sq: zeros(shape, { device, dtype }),
    };
  }

  protected override update(
    { parameters, gradients, states }: Updates<Slot>,
    lr: number,
    weightDecay: number,
  ): void {
    const steps = states.map((state) => state.step);
    ops._foreachAdd_(steps, 1);
    ops._fusedAdamw_(
      parameters,
      gradients,
      states.map((state) => state.exp_avg),
      states.map((state) => state.exp_avg_sq),
      [],
      steps,
      {
        lr,
        beta1: this.#beta1,
        beta2: this.#beta2,
        weightDecay,
        eps: this.#eps,
        amsgrad: false,
        maximize: false,
      },
    );
  }
}
