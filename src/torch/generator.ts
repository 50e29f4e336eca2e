/** Random number generators with a seed and a state that can be saved: PyTorch's own (mt19937 on the CPU). */
import { GeneratorOwner } from './handle-owner.js';
import type { GeneratorHandle } from './handles.js';
import { native } from './native.js';
import { synchronous } from './modes.js';
import { Tensor } from './tensor.js';

/** A source of random numbers for operators that take `{ generator }`. */
export class Generator extends GeneratorOwner {
  readonly handle: GeneratorHandle;

  /** A generator of its own on `device`, with PyTorch's default seed until manualSeed(). */
  constructor(device?: string);
  /** @internal */
  constructor(handle: GeneratorHandle);
  constructor(source: string | GeneratorHandle = 'cpu') {
    super();
    this.handle = typeof source === 'string' ? native.createGenerator(source) : source;
  }

  /** Starts the sequence that belongs to `seed` (a whole number, 0 to 2^53, or a bigint to 2^64). */
  manualSeed(seed: number | bigint): this {
    native.seedGenerator(this.handle, BigInt(seed));
    return this;
  }

  /** The whole state, uint8: give it to setState() to go on from here. */
  getState(): Tensor {
    return new Tensor(native.generatorState(this.handle));
  }

  setState(state: Tensor): void {
    native.setGeneratorState(this.handle, state.handle);
  }
}

/** The generator that operators use when none is given: the process's, or in withGenerators() the one given there. */
export function defaultGenerator(device = 'cpu'): Generator {
  return new Generator(native.defaultGenerator(device));
}

/** Seeds the CPU's default generator, and that of `device` when it is another. */
export function manualSeed(seed: number | bigint, device = 'cpu'): void {
  defaultGenerator('cpu').manualSeed(seed);
  if (device !== 'cpu') defaultGenerator(device).manualSeed(seed);
}

/**
 * Runs `fn` with generators in place of the default ones of their devices: every operator that is called in it draws from
 * them, also one that takes no generator. Other threads, which share the default ones, neither see this nor disturb it.
 *
 * @param fn - Synchronous.
 */
export function withGenerators<T>(generators: readonly Generator[], fn: () => T): T {
  native.enterGenerators(generators.map(({ handle }) => handle));
  try {
    return synchronous('withGenerators', fn());
  } finally {
    native.leaveGenerators();
  }
}
