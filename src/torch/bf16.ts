/** Whether this CPU multiplies bfloat16. */
import { native } from './native.js';

/** Instructions that multiply bfloat16, by cpuinfo's names: x86-64, then Arm. */
const BF16_INSTRUCTIONS = ['avx512_bf16', 'amx_bf16', 'arm_bf16', 'bf16'];

/** oneDNN's names of the levels of x86-64 that multiply bfloat16 (ONEDNN_MAX_CPU_ISA). */
const BF16_LEVEL = /BF16|FP16|AMX|AVX10|DEFAULT|ALL/i;

/** The most instructions that oneDNN may use. It reads its newer name first, and an empty variable as none. */
export const onednnLevel = (env: Readonly<NodeJS.ProcessEnv> = process.env): string =>
  [env['ONEDNN_MAX_CPU_ISA'], env['DNNL_MAX_CPU_ISA']].find((level) => level !== undefined && level !== '') ??
  'DEFAULT';

function findProblem(): string | null {
  const features = native.cpuFeatures();
  if (!BF16_INSTRUCTIONS.some((name) => features[name] === true))
    return process.arch === 'x64'
      ? 'this CPU multiplies bfloat16 with neither avx512_bf16 nor amx_bf16'
      : 'this CPU has no instructions for bfloat16';
  const most = onednnLevel();
  return BF16_LEVEL.test(most)
    ? null
    : `ONEDNN_MAX_CPU_ISA is ${most}, which has no instructions for bfloat16`;
}

let problem: string | null | undefined;

/** Why this CPU gains nothing from bfloat16; null when it may. */
export function bf16Problem(): string | null {
  if (problem === undefined) problem = findProblem();
  return problem;
}
