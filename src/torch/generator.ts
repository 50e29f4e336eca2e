/** Random number generators with a seed and a state that can be saved: PyTorch's (mt19937 on the CPU). */
import { GeneratorOwner } from './handle-owner.js';
import type { GeneratorHandle } from './handles.js';
import { native } from './native.js';
import { synchronous } from './modes.js';
import { Tensor } from './tensor.js';

/** A source of random numbers for operators that accept `{ generator }`. */
export class Generator extends GeneratorOwner {
  readonly handle: GeneratorHandle;

  /** A new generator on `device`, with PyTorch's default seed until manualSeed(). */
  constructor(device?: string);
  /** @internal */
  constructor(handle: GeneratorHandle);
  constructor(source: string | GeneratorHandle = 'cpu') {
    super();
    this.handle = typeof source === 'string' ? native.createGenerator(source) : source;
  }

  /** Starts the sequence for `seed` (a whole number from 0 to 2^53, or a bigint below 2^64). */
  manualSeed(seed: number | bigint): this {
    native.seedGenerator(this.handle, BigInt(seed));
    return this;
  }

  /** The whole state, uint8: pass it to setState() to continue from here. */
  getState(): Tensor {
    return new Tensor(native.generatorState(this.handle));
  }

  setState(state: Tensor): void {
    native.setGeneratorState(this.handle, state.handle);
  }
}

/** The generator that operators use by default: the process's, or, in withGenerators(), the one given there. */
export function defaultGenerator(device = 'cpu'): Generator {
  return new Generator(native.defaultGenerator(device));
}

/** Seeds the CPU's default generator, and that of `device` if it is a different one. */
export function manualSeed(seed: number | bigint, device = 'cpu'): void {
  defaultGenerator('cpu').manualSeed(seed);
  if (device !== 'cpu') defaultGenerator(device).manualSeed(seed);
}

/**
 * Runs `fn` with these generators as the default ones of their devices: every operator called in it uses them, including
 * operators without a generator argument. Other threads, which share the default generators, neither notice nor disturb it.
 *
 * @param fn - Must be synchronous.
 */
export function withGenerators<T>(generators: readonly Generator[], fn: () => T): T {
  native.enterGenerators(generators.map(({ handle }) => handle));
  try {
    return synchronous('withGenerators', fn());
  } finally {
    native.leaveGenerators();
  }
}
