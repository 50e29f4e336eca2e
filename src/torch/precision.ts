/** Applies the precisions of src/plain/precisions.ts, and says whether a device gains from them. */
import { ConfigError } from '../errors.js';
import type { Precision } from '../plain/precisions.js';
import { bf16Problem } from './bf16.js';
import type { DType } from './dtype.js';
import { autocast, type MatmulPrecision, withMatmulPrecision } from './modes.js';

const PARTS: Readonly<Record<Precision, { dtype: DType; matmul: MatmulPrecision }>> = {
  fp32: { dtype: 'float32', matmul: 'ieee' },
  'bf16-matmul': { dtype: 'float32', matmul: 'bf16' },
  bf16: { dtype: 'bfloat16', matmul: 'ieee' },
  fp16: { dtype: 'float16', matmul: 'ieee' },
};

/** The dtype in which a network's matrix products have their operands and results. */
export const dtypeOf = (precision: Precision): DType => PARTS[precision].dtype;

/** Runs a forward pass on `device` in a precision; a backward pass belongs in withProductsOf(). `fn` must be synchronous. */
export function withPrecision<T>(precision: Precision, device: string, fn: () => T): T {
  const { dtype } = PARTS[precision];
  return withProductsOf(precision, () => autocast({ device, dtype, enabled: dtype !== 'float32' }, fn));
}

/**
 * Runs a backward pass, or products of an optimizer, in a precision: float32 products follow `bf16-matmul`, and each other
 * product keeps the dtype of its operands. `fn` must be synchronous.
 */
export function withProductsOf<T>(precision: Precision, fn: () => T): T {
  return withMatmulPrecision(PARTS[precision].matmul, fn);
}

/**
 * Why a precision brings nothing on a device; null when it may be faster there than fp32. bf16 works on any CPU, but slowly
 * without its instructions; the others can't be used where they bring nothing.
 */
export function precisionProblem(precision: Precision, device: string): string | null {
  const isCpu = device === 'cpu';
  if (precision === 'fp32') return null;
  if (precision === 'fp16') return device.startsWith('cuda') ? null : 'it is for CUDA devices';
  if (precision === 'bf16-matmul' && !isCpu) return 'it is for the CPU, by oneDNN';
  return isCpu ? bf16Problem() : null;
}

/**
 * What a given precision does here that may not be meant, in words.
 * @throws ConfigError for one that the device doesn't have.
 */
export function precisionRemarks(precision: Precision, device: string): string[] {
  const problem = precisionProblem(precision, device);
  if (problem === null) return [];
  if (device !== 'cpu' || precision === 'fp16')
    throw new ConfigError(
      `--precision ${precision}, but device is ${device}: ${problem}. Use fp32, bf16 or auto`,
    );
  return precision === 'bf16'
    ? [`--precision bf16 will be slow: ${problem}`]
    : [`--precision ${precision} computes in fp32 here: ${problem}`];
}
