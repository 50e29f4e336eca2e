/**
 * What happens to parameters between backward() and the optimizer's step: utils.py get_params_groups,
 * clip_gradients and cancel_gradients_last_layer.
 */
import { noGrad, ops, scope, widest, type Parameter, type Tensor } from '../torch/index.js';
import { isOfBackbone } from './layer-rates.js';

export type NamedParameter = readonly [name: string, parameter: Parameter];

export interface ParameterGroup {
  parameters: readonly NamedParameter[];
  /** Whether the scheduled weight decay applies. */
  regularized: boolean;
}

/**
 * Two groups: weights, and parameters that must not decay (biases, norms, everything one-dimensional). Parameters without
 * requiresGrad are in neither.
 */
export function parameterGroups(parameters: Iterable<NamedParameter>): [ParameterGroup, ParameterGroup] {
  const trained = [...parameters].filter(([, parameter]) => parameter.requiresGrad);
  const plain = ([name, parameter]: NamedParameter) => name.endsWith('.bias') || parameter.ndim === 1;
  return [
    { parameters: trained.filter((entry) => !plain(entry)), regularized: true },
    { parameters: trained.filter(plain), regularized: false },
  ];
}

/**
 * Scales down each gradient whose L2 norm exceeds `maxNorm`. Unlike in torch.nn.utils.clip_grad_norm_, each parameter is
 * clipped separately.
 *
 * @returns (P) The norms before clipping, one for each parameter that has a gradient, on their device: on another than the
 *   CPU the host doesn't wait for them. Null without gradients.
 */
export function clipGradients(parameters: Iterable<NamedParameter>, maxNorm: number): Tensor | null {
  return scope(() =>
    noGrad(() => {
      const gradients = [...parameters].flatMap(([, parameter]) => parameter.grad ?? []);
      if (gradients.length === 0) return null;
      const norms = ops.stack(ops._foreachNorm(gradients, 2)); // (P)
      if (norms.device === 'cpu') scaleLarge(gradients, norms.toArray(), maxNorm);
      else if (maxNorm < Infinity) {
        const factors = widest(norms).add(1e-6).reciprocal().mul(maxNorm).clampMax(1).to(norms.dtype);
        ops._foreachMul_(gradients, factors.unbind());
      }
      return norms;
    }),
  );
}

/** On the CPU, where the norms can be read at once, most gradients need not be touched. */
function scaleLarge(gradients: readonly Tensor[], norms: readonly number[], maxNorm: number): void {
  const scaled: Tensor[] = [];
  const factors: number[] = [];
  for (const [i, gradient] of gradients.entries()) {
    const factor = maxNorm / ((norms[i] as number) + 1e-6);
    if (factor >= 1) continue;
    scaled.push(gradient);
    factors.push(factor);
  }
  if (scaled.length > 0) ops._foreachMul_(scaled, factors);
}

/** Drops the gradients of the backbone, so that the optimizer skips it: a step of the head alone. */
export function cancelBackboneGradients(parameters: Iterable<NamedParameter>): void {
  for (const [name, parameter] of parameters) if (isOfBackbone(name)) parameter.grad = null;
}

/** Drops the gradients of the head's last layer while the epoch is below `freezeEpochs`: the optimizer skips it. */
export function cancelLastLayerGradients(
  parameters: Iterable<NamedParameter>,
  epoch: number,
  freezeEpochs: number,
): void {
  if (epoch >= freezeEpochs) return;
  for (const [name, parameter] of parameters) {
    if (name.includes('last_layer')) parameter.grad = null;
  }
}
