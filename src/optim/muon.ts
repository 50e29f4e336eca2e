/**
 * Muon (Jordan et al. 2024) as torch.optim.Muon has it: the momentum of a weight matrix is replaced by the nearest
 * orthogonal matrix, so that all directions learn equally fast. It updates the weights of linear and convolutional layers (a
 * kernel as a matrix of one row for each output channel); the head's last layer, embeddings, norms and biases are AdamW's.
 * An update is scaled to the size that AdamW's has (Liu et al. 2025, section 2.2; `match_rms_adamw` there), so that one
 * learning rate fits both.
 */
import { ops, orthogonalized, zeros, type DType, type Parameter, type Tensor } from '../torch/index.js';
import { ADAMW_SLOTS, adamWState, adamWUpdate, type AdamWSlot } from './adamw.js';
import { Optimizer, type Updates } from './optimizer.js';
import type { ParameterGroup } from './parameters.js';
import { onlyIfTaken } from './taken.js';

type Slot = 'momentum_buffer' | AdamWSlot;

const MOMENTUM = 0.95;
/** Coefficients of the Newton-Schulz iteration, a quintic. */
const COEFFICIENTS = [3.4445, -4.775, 2.0315] as const;
const ITERATIONS = 5;
const EPS = 1e-7;

/**
 * The class token and the layers with which it asks (CaiT, XCiT, resnet_class_attention). Muon's steps, as long in every
 * direction, soon saturate their softmax: the token then looks at the background (measured on the demo's scenes,
 * docs/learning.md). They are AdamW's, at a slower rate, at which the short token doesn't turn around within a few steps.
 */
const isOfClassAttention = (name: string): boolean =>
  name.includes('cls_attn_blocks.') || name.endsWith('cls_token');
const CLASS_ATTENTION_RATE = 0.02;

const isMatrix = (name: string, parameter: Parameter): boolean =>
  parameter.ndim >= 2 && name.endsWith('.weight') && !isOfClassAttention(name);

type Group = Pick<Updates<Slot>, 'parameters' | 'gradients' | 'states'>;
const noUpdates = (): Group => ({ parameters: [], gradients: [], states: [] });

/**
 * The nearest orthogonal matrices, nearly: singular values come out between about 0.7 and 1.2.
 * @param matrices - (R, C) of any sizes.
 * @param dtype - What to compute in.
 */
export const orthogonalize = (matrices: readonly Tensor[], dtype: DType): Tensor[] =>
  orthogonalized(
    matrices.map((matrix) => matrix.to(dtype)),
    { coefficients: COEFFICIENTS, iterations: ITERATIONS, eps: EPS },
  ).map((found, i) => found.to(matrices[i]!.dtype));

export class Muon extends Optimizer<Slot> {
  readonly #dtype: DType;

  /** @param options - `dtype` of the iteration; bfloat16, torch.optim.Muon's, is enough where it is fast. Default float32. */
  constructor(groups: readonly ParameterGroup[], options: { dtype?: DType } = {}) {
    super(groups);
    // float16 would round small gradients to nothing before they are scaled
    this.#dtype = options.dtype === 'float16' ? 'bfloat16' : (options.dtype ?? 'float32');
  }

  protected override slotsOf(name: string, parameter: Parameter): readonly Slot[] {
    return isMatrix(name, parameter) ? ['momentum_buffer'] : ADAMW_SLOTS;
  }

  protected override initialState(parameter: Parameter, name: string): Record<Slot, Tensor> {
    const own = isMatrix(name, parameter)
      ? { momentum_buffer: zeros(parameter.shape, { device: parameter.device, dtype: parameter.dtype }) }
      : adamWState(parameter);
    return own as Record<Slot, Tensor>; // those of slotsOf()
  }

  protected override update(
    updates: Updates<Slot>,
    lr: number,
    weightDecay: number,
    taken: Tensor | undefined,
  ): void {
    const { names, parameters, gradients, states } = updates;
    const [matrices, rest, slow] = [noUpdates(), noUpdates(), noUpdates()];
    for (const [i, parameter] of parameters.entries()) {
      const name = names[i] as string;
      const those = isMatrix(name, parameter) ? matrices : isOfClassAttention(name) ? slow : rest;
      those.parameters.push(parameter);
      those.gradients.push(gradients[i] as Tensor);
      those.states.push(states[i] as Record<Slot, Tensor>);
    }
    if (matrices.parameters.length > 0) this.#updateMatrices(matrices, lr, weightDecay, taken);
    if (rest.parameters.length > 0) adamWUpdate(rest, lr, weightDecay, taken);
    if (slow.parameters.length > 0) adamWUpdate(slow, lr * CLASS_ATTENTION_RATE, weightDecay, taken);
  }

  #updateMatrices(
    { parameters, gradients, states }: Group,
    lr: number,
    weightDecay: number,
    taken: Tensor | undefined,
  ): void {
    const buffers = states.map((state) => state.momentum_buffer);
    onlyIfTaken(taken, [...buffers, ...parameters], () => {
      ops._foreachLerp_(buffers, gradients, 1 - MOMENTUM);
      const ahead = ops._foreachLerp(gradients, buffers, MOMENTUM).map((one) => one.flatten(1)); // Nesterov's
      const directions = orthogonalize(ahead, this.#dtype);
      ops._foreachMul_(parameters, 1 - lr * weightDecay);
      for (const [i, parameter] of parameters.entries()) {
        const direction = directions[i] as Tensor;
        const size = 0.2 * Math.sqrt(Math.max(direction.size(0), direction.size(1)));
        parameter.add_(direction.view(parameter.shape), { alpha: -lr * size });
      }
    });
  }
}
