/**
 * Steps whose results stay on the device until a line of metrics is due, so that the host doesn't wait for each of them and
 * can give the device the next one meanwhile. Whether a step is finite is decided there, too: the first that isn't, and all
 * that follow it, change nothing (src/optim/taken.ts). When the host reads, it learns how many there were, and the state is
 * that after the last finite one, to the bit.
 */
import {
  full,
  type Generator,
  noGrad,
  ops,
  scope,
  withGenerators,
  zeros,
  type Tensor,
} from '../torch/index.js';
import { type GeneratorStates, restoreGenerators } from './hidden-state.js';

export class UnreadSteps {
  readonly #generators: readonly Generator[];
  /** () float32: 1 until a step is not finite. */
  readonly #finite: Tensor;
  /** () float32: steps that were taken since the last read. */
  readonly #taken: Tensor;
  /** () float32, of the last step. */
  readonly #loss: Tensor;
  /** The random generators before each step since the last read. */
  #before: GeneratorStates[] = [];

  /** @param of - Where the networks are, and the training's own random generators. */
  constructor({ device, generators = [] }: { device: string; generators?: readonly Generator[] }) {
    this.#generators = generators;
    this.#finite = full([], 1, { device }).keep();
    this.#taken = zeros([], { device }).keep();
    this.#loss = zeros([], { device }).keep();
  }

  /**
   * Notes a step whose gradients are known.
   *
   * @param loss - ()
   * @param norms - (P) of the gradients; null without any.
   * @param before - The random generators before the step.
   * @returns () float32, 1 if the step is to be taken and 0 if not.
   */
  add(loss: Tensor, norms: Tensor | null, before: GeneratorStates): Tensor {
    return noGrad(() => {
      for (const [, state] of before) state.keep();
      this.#before.push(before);
      const values = loss.view([1]).to('float32');
      const all = norms === null ? values : ops.cat([values, norms.to('float32')]);
      this.#finite.mul_(all.isfinite().all().to('float32'));
      this.#taken.add_(this.#finite);
      this.#loss.copy_(loss);
      return this.#finite;
    });
  }

  /** Whether every step was read. */
  get isEmpty(): boolean {
    return this.#before.length === 0;
  }

  /**
   * Waits for the device, once. When a step since the last read was not finite, the random generators are restored to their
   * state before it.
   *
   * @param more - (N) float32 to read with it.
   * @returns Steps that were not taken, the loss of the last step, and the values of `more`.
   */
  read(more?: Tensor): { undone: number; loss: number; values: number[] } {
    const [taken = 0, loss = NaN, ...values] = scope(() => {
      const own = ops.stack([this.#taken, this.#loss]); // (2)
      return (more === undefined ? own : ops.cat([own, more])).toArray();
    });
    const undone = this.#before.length - taken;
    const first = this.#before[taken];
    if (undone > 0 && first !== undefined) withGenerators(this.#generators, () => restoreGenerators(first));
    for (const states of this.#before) for (const [, state] of states) state.dispose();
    this.#before = [];
    noGrad(() => {
      this.#taken.fill_(0);
      this.#finite.fill_(1);
    });
    return { undone, loss, values };
  }

  dispose(): void {
    for (const states of this.#before) for (const [, state] of states) state.dispose();
    for (const tensor of [this.#finite, this.#taken, this.#loss]) tensor.dispose();
  }
}
