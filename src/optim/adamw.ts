/**
 * AdamW (Loshchilov and Hutter 2019) with torch.optim.AdamW's defaults, using libtorch's fused kernel: one pass over each
 * parameter.
 */
import { ops, tensor, zeros, type Parameter, type Tensor } from '../torch/index.js';
import { Optimizer, type Updates } from './optimizer.js';
import { foundInf } from './taken.js';

export const ADAMW_SLOTS = ['step', 'exp_avg', 'exp_avg_sq'] as const;
export type AdamWSlot = (typeof ADAMW_SLOTS)[number];
const BETAS = { beta1: 0.9, beta2: 0.999 } as const;
const EPS = 1e-8;

export function adamWState({ device, shape, dtype }: Parameter): Record<AdamWSlot, Tensor> {
  const precise = { device, dtype: dtype === 'float64' ? 'float64' : 'float32' } as const;
  return {
    step: tensor(0, { device }), // (), float32, as the fused kernel requires
    exp_avg: zeros(shape, precise),
    exp_avg_sq: zeros(shape, precise),
  };
}

export function adamWUpdate(
  { parameters, gradients, states }: Pick<Updates<AdamWSlot>, 'parameters' | 'gradients' | 'states'>,
  lr: number,
  weightDecay: number,
  taken: Tensor | undefined,
): void {
  const steps = states.map((state) => state.step);
  if (taken === undefined) ops._foreachAdd_(steps, 1);
  else ops._foreachAdd_(steps, taken);
  ops._fusedAdamw_(
    parameters,
    gradients,
    states.map((state) => state.exp_avg),
    states.map((state) => state.exp_avg_sq),
    [],
    steps,
    { ...BETAS, lr, weightDecay, eps: EPS, amsgrad: false, maximize: false, foundInf: foundInf(taken) },
  );
}

export class AdamW extends Optimizer<AdamWSlot> {
  protected override slotsOf(): readonly AdamWSlot[] {
    return ADAMW_SLOTS;
  }

  protected override initialState(parameter: Parameter): Record<AdamWSlot, Tensor> {
    return adamWState(parameter);
  }

  protected override update(
    updates: Updates<AdamWSlot>,
    lr: number,
    weightDecay: number,
    taken: Tensor | undefined,
  ): void {
    adamWUpdate(updates, lr, weightDecay, taken);
  }
}
