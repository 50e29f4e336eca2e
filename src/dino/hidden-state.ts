/**
 * What a forward pass changes besides gradients: the running statistics of batch norms, and the random generators. A step
 * that can't be completed restores them, so that a checkpoint saved afterwards holds the state before that step, to the bit.
 */
import type { Module } from '../nn/index.js';
import { takeBack } from '../optim/index.js';
import { defaultGenerator, noGrad, type Tensor } from '../torch/index.js';

/** The states of random generators, by their device. Their tensors are on the CPU. */
export type GeneratorStates = readonly [device: string, state: Tensor][];

export function restoreGenerators(states: GeneratorStates): void {
  for (const [device, state] of states) defaultGenerator(device).setState(state);
}

/** Its tensors belong to the scope() in which it is made. */
export class HiddenState {
  readonly #buffers: [live: Tensor, before: Tensor][];
  readonly generators: GeneratorStates;

  constructor(networks: readonly Module[], device: string) {
    this.#buffers = networks.flatMap((network) =>
      [...network.namedBuffers()].map(([, buffer]): [Tensor, Tensor] => [buffer, buffer.clone()]),
    );
    const devices = device === 'cpu' ? ['cpu'] : ['cpu', device];
    this.generators = devices.map((name) => [name, defaultGenerator(name).getState()]);
  }

  restore(): void {
    noGrad(() => {
      for (const [live, before] of this.#buffers) live.copy_(before);
    });
    restoreGenerators(this.generators);
  }

  /** Restores the statistics where `taken`, () float32 on their device, is 0. */
  takeBack(taken: Tensor): void {
    noGrad(() => {
      takeBack(
        taken,
        this.#buffers.map(([live]) => live),
        this.#buffers.map(([, before]) => before),
      );
    });
  }
}
