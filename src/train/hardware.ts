/** Which device and which precision a run uses. `auto` measures; requesting a device that is missing is an error. */
import { assertDevice, availableDevices, measureMatmul, type DType } from '../torch/index.js';

/** @throws EngineError that says why a device can't be used. */
export function chooseDevice(wanted: string): string {
  if (wanted === 'auto') return availableDevices()[0] as string;
  assertDevice(wanted);
  return wanted === 'cuda' ? 'cuda:0' : wanted;
}

export interface Precision {
  precision: 'fp32' | 'bf16' | 'fp16';
  /** The dtype of matrix products. */
  dtype: DType;
}

/** How much faster bf16's products must be to be worth their rounding: conversions cost part of the gain. */
export const BF16_WORTHWHILE = 1.5;

/** `auto` is bf16 if its matrix products are clearly faster on this device, else fp32. */
export function choosePrecision(wanted: 'fp32' | 'bf16' | 'fp16' | 'auto', device: string): Precision {
  if (wanted === 'auto') {
    const isFaster = measureMatmul(device, 'bfloat16') > BF16_WORTHWHILE * measureMatmul(device, 'float32');
    return choosePrecision(isFaster ? 'bf16' : 'fp32', device);
  }
  return {
    precision: wanted,
    dtype: ({ fp32: 'float32', bf16: 'bfloat16', fp16: 'float16' } as const)[wanted],
  };
}
