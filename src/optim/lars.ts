/**
 * LARS (You et al. 2017) as in the reference's utils.py, for convolutional networks and large batches: the update of each
 * parameter is scaled to `eta` times the parameter's norm, then accumulated with momentum. One-dimensional parameters are
 * neither decayed nor scaled.
 */
import { ops, zeros, type Parameter, type Tensor } from '../torch/index.js';
import { Optimizer, type Updates } from './optimizer.js';

type Slot = 'mu';

export class LARS extends Optimizer<Slot> {
  protected override slotsOf(): readonly Slot[] {
    return ['mu'];
  }

  readonly #momentum = 0.9;
  readonly #eta = 0.001;

  protected override initialState(parameter: Parameter): Record<Slot, Tensor> {
    return { mu: zeros(parameter.shape, { device: parameter.device }) };
  }

  protected override update(
    { parameters, gradients, states }: Updates<Slot>,
    lr: number,
    weightDecay: number,
  ): void {
    const adapted = [...parameters.keys()].filter((i) => parameters[i]?.ndim !== 1);
    const pick = <T>(from: readonly T[]): T[] => adapted.map((i) => from[i] as T);
    const updates = [...gradients];
    if (adapted.length > 0) {
      const decayed = ops._foreachAdd(pick(gradients), pick(parameters), { alpha: weightDecay });
      // all norms with a single wait for the device
      const norms = ops
        .stack([...ops._foreachNorm(pick(parameters), 2), ...ops._foreachNorm(decayed, 2)])
        .toArray();
      const factors = adapted.map((_, at) => {
        const parameterNorm = norms[at] as number;
        const updateNorm = norms[at + adapted.length] as number;
        return parameterNorm > 0 && updateNorm > 0 ? (this.#eta * parameterNorm) / updateNorm : 1;
      });
      ops._foreachMul_(decayed, factors);
      for (const [at, i] of adapted.entries()) updates[i] = decayed[at] as Tensor;
    }
    const momenta = states.map((state) => state.mu);
    ops._foreachMul_(momenta, this.#momentum);
    ops._foreachAdd_(momenta, updates, { alpha: 1 });
    ops._foreachAdd_(parameters, momenta, { alpha: -lr });
  }
}
