/**
 * Loads the addon over libtorch (native/torch) and types its exports. Only this folder imports it.
 */
import { createRequire } from 'node:module';
import { existsSync } from 'node:fs';
import { EngineError } from '../errors.js';
import { addonFile, isVectorProblem, type VectorReport } from '../native-addons.js';
import type { TypedArray } from './dtype.js';
import type { GeneratorHandle, OperatorHandle, TensorHandle } from './handles.js';
import type { NativeDistributed } from './native-distributed.js';

/** One argument of an operator's schema; `type` is c10's name for it, such as `Tensor?`, `int[]`, `ScalarType`. */
export interface ArgumentInfo {
  name: string;
  type: string;
  keywordOnly: boolean;
  hasDefault: boolean;
  /** The length of a list of fixed length, for which a single value may stand; else null. */
  length: number | null;
}

export interface OperatorInfo {
  handle: OperatorHandle;
  arguments: ArgumentInfo[];
  /** The result is the first argument itself, modified. */
  inPlace: boolean;
}

/** What native/torch exports; each function throws an Error with libtorch's message. */
export interface NativeTorch extends NativeDistributed {
  readonly version: string;
  readonly vectors: VectorReport;
  findOperator(name: string, overload: string): OperatorInfo | null;
  callOperator(operator: OperatorHandle, values: unknown[]): unknown;
  fromBuffer(array: TypedArray, shape: readonly number[], dtype: number): TensorHandle;
  dataBuffer(tensor: TensorHandle): ArrayBuffer;
  shape(tensor: TensorHandle): number[];
  strides(tensor: TensorHandle): number[];
  dtype(tensor: TensorHandle): number;
  device(tensor: TensorHandle): string;
  item(tensor: TensorHandle): number | boolean;
  isContiguous(tensor: TensorHandle): boolean;
  isDisposed(tensor: TensorHandle): boolean;
  dispose(tensor: TensorHandle): void;
  liveTensors(): number;
  backward(tensors: TensorHandle[], gradients: (TensorHandle | null)[], retainGraph: boolean): void;
  gradients(
    outputs: TensorHandle[],
    inputs: TensorHandle[],
    gradients: (TensorHandle | null)[],
    retainGraph: boolean,
    createGraph: boolean,
  ): (TensorHandle | null)[];
  getGrad(tensor: TensorHandle): TensorHandle | null;
  setGrad(tensor: TensorHandle, gradient: TensorHandle | null): void;
  requiresGrad(tensor: TensorHandle): boolean;
  setRequiresGrad(tensor: TensorHandle, value: boolean): void;
  isLeaf(tensor: TensorHandle): boolean;
  isGradEnabled(): boolean;
  setGradEnabled(value: boolean): void;
  enterInferenceMode(): void;
  leaveInferenceMode(): void;
  setAutocast(device: string, enabled: boolean, dtype: number): { enabled: boolean; dtype: number };
  clearAutocastCache(): void;
  /** Of this thread's operators on float32; returns what was set before. */
  allowBf16Products(allowed: boolean): boolean;
  createGenerator(device: string): GeneratorHandle;
  defaultGenerator(device: string): GeneratorHandle;
  enterGenerators(generators: readonly GeneratorHandle[]): void;
  leaveGenerators(): void;
  seedGenerator(generator: GeneratorHandle, seed: bigint): void;
  generatorState(generator: GeneratorHandle): TensorHandle;
  setGeneratorState(generator: GeneratorHandle, state: TensorHandle): void;
  openLibrary(path: string): string | null;
  /** Sets a variable in the process's environment, also from a worker thread, whose process.env is a copy. */
  setEnvironment(name: string, value: string): void;
  deviceCount(type: string): number;
  synchronize(device: string): void;
  /** By cpuinfo's names, such as avx512_bf16. */
  cpuFeatures(): Record<string, boolean>;
  cpuCapability(): string;
  getNumThreads(): number;
  setNumThreads(threads: number): void;
}

/** MKL's code branch for each of ATen's instruction levels; below AVX2 none is strict. */
const MKL_BRANCHES: Readonly<Record<string, string>> = { AVX512: 'AVX512,STRICT', AVX2: 'AVX2,STRICT' };

/**
 * MKL computes a product differently depending on the alignment of its operands in memory, and the result differs in the
 * last bits: loading the same weights twice would give different features, and a resumed run would diverge from an
 * uninterrupted one. The strict mode of its conditional numerical reproducibility prevents that. MKL reads it at the first
 * product, so it is set as soon as the addon is loaded; an MKL_CBWR set by the user is kept. docs/performance.md says what
 * it costs. (oneMKL Developer Guide, "Reproducibility Conditions".)
 */
function makeProductsReproducible(addon: NativeTorch): void {
  const branch = MKL_BRANCHES[addon.cpuCapability()];
  if (branch !== undefined && process.env['MKL_CBWR'] === undefined) addon.setEnvironment('MKL_CBWR', branch);
}

function load(): NativeTorch {
  const addonPath = addonFile('torch');
  if (!existsSync(addonPath)) {
    throw new EngineError(
      `the libtorch addon is not built: ${addonPath} is missing. Run \`npm run setup\` in the package's folder; ` +
        '`dino doctor` says what else is missing.',
    );
  }
  // By default OpenMP's threads spin at every barrier. As soon as anything else needs a core, such as a loader worker, a
  // spinning thread may keep the thread that it waits for from running: steps become several times slower. Sleeping
  // immediately costs a tenth on an idle machine. A short spin costs nothing measurable in either case (libgomp's default is
  // 300,000). It must be in the environment before libgomp is loaded.
  if (process.env['OMP_WAIT_POLICY'] === undefined) process.env['GOMP_SPINCOUNT'] ??= '3000';
  try {
    const addon = createRequire(import.meta.url)(addonPath) as NativeTorch;
    makeProductsReproducible(addon);
    return addon;
  } catch (error) {
    if (isVectorProblem(error)) throw new EngineError(error.message, { cause: error });
    throw new EngineError(
      `${addonPath} can't be loaded: ${error instanceof Error ? error.message : String(error)}. ` +
        'Has the PyTorch that it was built with moved? Run `npm run setup` again; `dino doctor` prints the paths.',
      { cause: error },
    );
  }
}

export const native: NativeTorch = load();
