// The loops of the widest vector instructions that this machine has.
#include "loops.h"

namespace dino {

#define DINO_DECLARE(level)                      \
  namespace level {                              \
  extern const RowLoops row_loops;               \
  extern const AttentionLoops attention_loops;   \
  }
DINO_DECLARE(base)
#if defined(__x86_64__)
DINO_DECLARE(v3)
DINO_DECLARE(v4)

namespace {

// x86-64-v3 and x86-64-v4 of the System V ABI, as far as our loops use them.
bool has_v3() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_v4() {
  return has_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512cd");
}

}  // namespace

const RowLoops& rows() {
  static const RowLoops& best = has_v4() ? v4::row_loops : has_v3() ? v3::row_loops : base::row_loops;
  return best;
}
const AttentionLoops& attention_loops() {
  static const AttentionLoops& best =
      has_v4() ? v4::attention_loops : has_v3() ? v3::attention_loops : base::attention_loops;
  return best;
}
#else
const RowLoops& rows() { return base::row_loops; }
const AttentionLoops& attention_loops() { return base::attention_loops; }
#endif

}  // namespace dino
