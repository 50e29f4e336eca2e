/** Levels of vector instructions for tests in processes of their own: what to add to the environment before libtorch loads. */
export const VECTOR_LEVELS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "the machine's own level": {},
  AVX2: { ATEN_CPU_CAPABILITY: 'avx2', ONEDNN_MAX_CPU_ISA: 'AVX2', MKL_ENABLE_INSTRUCTIONS: 'AVX2' },
};
