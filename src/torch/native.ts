/**
 * Loads the addon over libtorch (native/torch) and types its exports. Only this folder imports it.
 */
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import {
  type Libtorch,
  libraryName,
  libtorchToLoad,
  readLinkedLibtorch,
  TORCH_VERSION,
} from '../../scripts/find-libtorch.mjs';
import { EngineError } from '../errors.js';
import {
  type AddonPlace,
  compileCommand,
  findAddon,
  isVectorProblem,
  missingAddonMessage,
  platformName,
  setupCommand,
  unloadableAddonAdvice,
  type VectorReport,
} from '../native-addons.js';
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
  upload(tensor: TensorHandle, device: string): TensorHandle;
  isIdle(device: string): boolean;
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

/** What dlopen() takes beside RTLD_LAZY, so that the library stays when Node finds that it is not an addon. */
const RTLD_NODELETE: Partial<Record<NodeJS.Platform, number>> = { linux: 0x1000, darwin: 0x80 };

/**
 * Opens libtorch before the addon, whose file names the library but not where it is: the system then takes the one that is
 * open. On Windows, libraries are looked for in the folders of PATH.
 */
function openLibtorch({ lib }: Libtorch): void {
  if (process.platform === 'win32') {
    process.env['PATH'] = `${lib}${path.delimiter}${process.env['PATH'] ?? ''}`;
    return;
  }
  const library = path.join(lib, libraryName('torch_cpu'));
  const flags = os.constants.dlopen.RTLD_LAZY | (RTLD_NODELETE[process.platform] ?? 0);
  try {
    process.dlopen({ exports: {} }, library, flags);
  } catch (error) {
    // Node opened it, and then found that it is not an addon
    if (!(error as Error).message.includes('did not self-register')) throw error;
  }
}

/** The libtorch to load. @throws EngineError that lists where it was looked for. */
function chooseLibtorch({ from }: AddonPlace): Libtorch {
  const { libtorch, tried } = libtorchToLoad(from === 'compiled');
  if (libtorch === null) {
    const places = tried.map(({ source, path: where, problem }) => `  ${source}: ${where} ${problem ?? ''}`);
    throw new EngineError(
      `libtorch ${TORCH_VERSION} was not found on this machine (${platformName}). Looked for:\n${places.join('\n')}\n` +
        `What helps:\n  ${setupCommand}: downloads it (about 127 MB)\n` +
        `  LIBTORCH=<folder>: a libtorch ${TORCH_VERSION} that is there, or Python's torch package of that version`,
    );
  }
  // an explicit LIBTORCH may be another one than the addon was compiled with
  if (
    libtorch.version !== TORCH_VERSION &&
    (from === 'package' || readLinkedLibtorch()?.version !== libtorch.version)
  ) {
    throw new EngineError(
      `LIBTORCH=${libtorch.root} is version ${libtorch.version}, and the addon was compiled for ${TORCH_VERSION}. ` +
        `Unset LIBTORCH, or compile the addon for it: ${compileCommand}.`,
    );
  }
  return libtorch;
}

function load(): { addon: NativeTorch; libtorch: Libtorch } {
  const place = findAddon('torch');
  if ('tried' in place) throw new EngineError(missingAddonMessage('torch', place.tried));
  const libtorch = chooseLibtorch(place);
  // By default OpenMP's threads spin at every barrier. As soon as anything else needs a core, such as a loader worker, a
  // spinning thread may keep the thread that it waits for from running: steps become several times slower. Sleeping
  // immediately costs a tenth on an idle machine. A short spin costs nothing measurable in either case (libgomp's default is
  // 300,000). It must be in the environment before libgomp is loaded.
  if (process.env['OMP_WAIT_POLICY'] === undefined) process.env['GOMP_SPINCOUNT'] ??= '3000';
  try {
    openLibtorch(libtorch);
    const addon = createRequire(import.meta.url)(place.file) as NativeTorch;
    makeProductsReproducible(addon);
    return { addon, libtorch };
  } catch (error) {
    if (isVectorProblem(error)) throw new EngineError(error.message, { cause: error });
    const reason = error instanceof Error ? error.message : String(error);
    throw new EngineError(
      `${place.file} can't be loaded with the libtorch in ${libtorch.root}: ${reason}. ` +
        `${unloadableAddonAdvice(place, reason)} \`dino doctor\` prints the paths.`,
      { cause: error },
    );
  }
}

const loaded = load();

export const native: NativeTorch = loaded.addon;
/** The libtorch that is loaded. */
export const libtorchInUse: Libtorch = loaded.libtorch;
