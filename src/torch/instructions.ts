/** Which instructions this process computes with: another choice rounds sums differently, in the last bits. */
import os from 'node:os';
import { bf16Problem, onednnLevel } from './bf16.js';
import { native } from './native.js';

/** oneDNN's names of the levels that have AMX (ONEDNN_MAX_CPU_ISA). */
const AMX_LEVEL = /AMX|AVX10_2|DEFAULT|ALL/i;

function bf16Level(): string {
  if (bf16Problem() !== null) return 'no bfloat16';
  return native.cpuFeatures()['amx_bf16'] === true && AMX_LEVEL.test(onednnLevel()) ? 'amx_bf16' : 'bfloat16';
}

/**
 * The processor's maker (MKL's products, and so ours, depend on it), and the levels of libtorch's kernels, of our own loops and
 * of products in bfloat16: `Intel, AVX512, v4, amx_bf16`.
 */
export function instructionLevels(): string {
  const maker = /AMD|Intel/.exec(os.cpus()[0]?.model ?? '')?.[0] ?? process.arch;
  return [maker, native.cpuCapability(), native.vectors.level, bf16Level()].join(', ');
}
