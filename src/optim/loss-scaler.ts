/**
 * Loss scaling for float16 (Micikevicius et al. 2018), with torch.cuda.amp.GradScaler's constants: small gradients are
 * scaled up into float16's range, a step whose gradients overflow is skipped and the scale is halved, and after 2,000 good
 * steps it is doubled.
 */
import { noGrad, ops, scope, tensor, type Tensor } from '../torch/index.js';
import type { NamedParameter } from './parameters.js';

const GROWTH_INTERVAL = 2000;

export class LossScaler {
  readonly enabled: boolean;
  #scale: number;
  #goodSteps = 0;

  /** With `enabled` false all of its methods are no-ops. */
  constructor(enabled: boolean) {
    this.enabled = enabled;
    this.#scale = enabled ? 65536 : 1;
  }

  get scale(): number {
    return this.#scale;
  }

  scaleLoss(loss: Tensor): Tensor {
    return this.enabled ? loss.mul(this.#scale) : loss;
  }

  /** Divides the gradients by the scale. */
  unscale(parameters: Iterable<NamedParameter>): void {
    if (!this.enabled) return;
    scope(() =>
      noGrad(() => {
        const gradients = [...parameters].flatMap(([, parameter]) => parameter.grad ?? []);
        if (gradients.length > 0) ops._foreachMul_(gradients, 1 / this.#scale);
      }),
    );
  }

  /** Adjusts the scale after a step. */
  update(overflowed: boolean): void {
    if (!this.enabled) return;
    if (overflowed) {
      this.#scale /= 2;
      this.#goodSteps = 0;
    } else if (++this.#goodSteps === GROWTH_INTERVAL) {
      this.#scale *= 2;
      this.#goodSteps = 0;
    }
  }

  /** (2,) float64: the scale, and the number of good steps since it last changed. */
  getState(): Tensor {
    return tensor([this.#scale, this.#goodSteps], { dtype: 'float64' });
  }

  setState(state: Tensor): void {
    const [scale = 1, goodSteps = 0] = state.toArray();
    this.#scale = scale;
    this.#goodSteps = goodSteps;
  }
}
