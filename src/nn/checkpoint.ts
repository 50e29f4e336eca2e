/**
 * Activation checkpointing (Chen et al. 2016; torch.utils.checkpoint): a part of the network keeps only its input, and is
 * recomputed when its gradient is needed. A step takes about a third longer and needs a fraction of the memory.
 *
 * This works without hooks in the autograd engine, which on CUDA would call back from its own threads: each part ends the
 * graph, and ActivationCheckpoints.backward() goes through the parts from last to first.
 */
import { defaultGenerator, noGrad, scope, type Tensor } from '../torch/index.js';

interface Segment {
  compute: (x: Tensor) => Tensor;
  /** Belongs to the graph before this part. */
  input: Tensor;
  /** A leaf from which the graph after this part starts; collects the gradient. */
  output: Tensor;
  /** States of the generators before it was computed, so that recomputing drops the same paths. */
  random: Tensor[];
}

type Record = (compute: (x: Tensor) => Tensor, x: Tensor) => Tensor;
let record: Record | null = null; // of the current forward pass
let recomputing = false;

/** Whether a part is being computed for the second time: layers must not update their statistics again. */
export const isRecomputing = (): boolean => recomputing;

/** Computes `compute(x)`, as a checkpoint if called within ActivationCheckpoints.forward(). */
export function checkpoint(compute: (x: Tensor) => Tensor, x: Tensor): Tensor {
  return record === null ? compute(x) : record(compute, x);
}

export interface ActivationCheckpointsOptions {
  /** The device whose generator may be used, in addition to the CPU's. */
  device?: string;
  /** Wraps the recomputation of a part, to restore the mode of the forward pass, such as autocast. */
  around?: (fn: () => Tensor) => Tensor;
}

/**
 * @example
 * const checkpoints = new ActivationCheckpoints();
 * const loss = checkpoints.forward(() => lossOf(model.forward(x)));
 * checkpoints.backward(loss);
 */
export class ActivationCheckpoints {
  readonly #segments: Segment[] = [];
  readonly #devices: string[];
  readonly #around: (fn: () => Tensor) => Tensor;

  constructor({ device = 'cpu', around = (fn) => fn() }: ActivationCheckpointsOptions = {}) {
    this.#devices = device === 'cpu' ? ['cpu'] : ['cpu', device];
    this.#around = around;
  }

  /** Runs a forward pass in which every checkpoint() call makes a checkpoint. */
  forward<T>(fn: () => T): T {
    const before = record;
    record = (compute, x) => this.#record(compute, x);
    try {
      return fn();
    } finally {
      record = before;
    }
  }

  #record(compute: (x: Tensor) => Tensor, input: Tensor): Tensor {
    const random = this.#devices.map((device) => defaultGenerator(device).getState());
    const output = scope(() => noGrad(() => compute(input))).detach();
    output.requiresGrad = true;
    this.#segments.push({ compute, input, output, random });
    return output;
  }

  /** Computes the gradients of a scalar, through every checkpoint of the forward pass. */
  backward(loss: Tensor): void {
    loss.backward();
    for (let segment = this.#segments.pop(); segment !== undefined; segment = this.#segments.pop()) {
      const { compute, input, output, random } = segment;
      const gradient = output.grad;
      if (gradient === null) continue; // the loss does not depend on it
      scope(() => {
        const x = input.detach();
        x.requiresGrad = input.requiresGrad;
        const recomputed = this.#withRandom(random, () => this.#around(() => compute(x)));
        recomputed.backward(gradient);
        if (x.grad !== null) input.backward(x.grad);
      });
      for (const spent of [output, ...random]) spent.dispose();
    }
  }

  /** Runs `fn` with the given states of the generators, and restores the current ones. */
  #withRandom<T>(states: readonly Tensor[], fn: () => T): T {
    const generators = this.#devices.map((device) => defaultGenerator(device));
    const before = generators.map((generator) => generator.getState());
    const set = (to: readonly Tensor[]): void => {
      for (const [i, generator] of generators.entries()) generator.setState(to[i] as Tensor);
    };
    set(states);
    recomputing = true;
    try {
      return fn();
    } finally {
      recomputing = false;
      set(before);
    }
  }
}
