/**
 * LARS (You et al. 2017) as in the reference's utils.py, for convolutional networks and large batches: the update of each
 * parameter is scaled to `eta` times the parameter's norm, then accumulated with momentum. One-dimensional parameters are
 * neither decayed nor scaled.
 */
import { ops, widest, zeros, type Parameter, type Tensor } from '../torch/index.js';
import { Optimizer, type Updates } from './optimizer.js';
import { onlyIfTaken } from './taken.js';

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
    taken: Tensor | undefined,
  ): void {
    const adapted = [...parameters.keys()].filter((i) => parameters[i]?.ndim !== 1);
    const pick = <T>(from: readonly T[]): T[] => adapted.map((i) => from[i] as T);
    const updates = [...gradients];
    if (adapted.length > 0) {
      const decayed = ops._foreachAdd(pick(gradients), pick(parameters), { alpha: weightDecay });
      // the norms stay on the device, in numbers as wide as the host's
      const norms = (of: readonly Tensor[]): Tensor => widest(ops.stack(ops._foreachNorm(of, 2))); // (n)
      const [parameterNorms, updateNorms] = [norms(pick(parameters)), norms(decayed)];
      const areBoth = parameterNorms.gt(0).logicalAnd(updateNorms.gt(0));
      const ratios = parameterNorms.mul(this.#eta).div(updateNorms);
      const factors = ops.where(areBoth, ratios, 1).to((decayed[0] as Tensor).dtype);
      ops._foreachMul_(decayed, factors.unbind());
      for (const [at, i] of adapted.entries()) updates[i] = decayed[at] as Tensor;
    }
    const momenta = states.map((state) => state.mu);
    onlyIfTaken(taken, [...momenta, ...parameters], () => {
      ops._foreachMul_(momenta, this.#momentum);
      ops._foreachAdd_(momenta, updates, { alpha: 1 });
      ops._foreachAdd_(parameters, momenta, { alpha: -lr });
    });
  }
}
