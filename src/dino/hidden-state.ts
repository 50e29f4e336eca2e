/**
 * What a forward pass changes besides gradients: the running statistics of batch norms, and the random generators. A step
 * that can't be completed restores them, so that a checkpoint saved afterwards holds the state before that step, to the bit.
 */
import type { Module } from '../nn/index.js';
import { defaultGenerator, noGrad, type Tensor } from '../torch/index.js';

/** Its tensors belong to the scope() in which it is made. */
export class HiddenState {
  readonly #buffers: [live: Tensor, before: Tensor][];
  readonly #generators: [device: string, before: Tensor][];

  constructor(networks: readonly Module[], device: string) {
    this.#buffers = networks.flatMap((network) =>
      [...network.namedBuffers()].map(([, buffer]): [Tensor, Tensor] => [buffer, buffer.clone()]),
    );
    const devices = device === 'cpu' ? ['cpu'] : ['cpu', device];
    this.#generators = devices.map((name) => [name, defaultGenerator(name).getState()]);
  }

  restore(): void {
    noGrad(() => {
      for (const [live, before] of this.#buffers) live.copy_(before);
    });
    for (const [device, before] of this.#generators) defaultGenerator(device).setState(before);
  }
}
