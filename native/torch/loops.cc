// Chooses the loops for the level of vector instructions in use.
#include "loops.h"

#include "../vectors.h"

namespace dino {

#define DINO_DECLARE(level)                                   \
  namespace level {                                           \
  extern const RowLoops row_loops;                            \
  extern const ChannelLoops<float> channel_loops_float32;     \
  extern const ChannelLoops<uint16_t> channel_loops_bfloat16; \
  extern const AttentionLoops attention_loops;                \
  extern const PackLoops pack_loops;                          \
  }
DINO_DECLARE(base)
#if defined(__x86_64__)
DINO_DECLARE(v3)
DINO_DECLARE(v4)
namespace bf16 {
extern const AttentionLoops attention_loops;
extern const PackLoops pack_loops;
}  // namespace bf16
namespace amx {
extern const AttentionLoops attention_loops;
}

const RowLoops& rows() {
  static const RowLoops& chosen = vectors::pick(base::row_loops, v3::row_loops, v4::row_loops);
  return chosen;
}
template <>
const ChannelLoops<float>& channel_loops<float>() {
  static const ChannelLoops<float>& chosen =
      vectors::pick(base::channel_loops_float32, v3::channel_loops_float32, v4::channel_loops_float32);
  return chosen;
}
template <>
const ChannelLoops<uint16_t>& channel_loops<uint16_t>() {
  static const ChannelLoops<uint16_t>& chosen =
      vectors::pick(base::channel_loops_bfloat16, v3::channel_loops_bfloat16, v4::channel_loops_bfloat16);
  return chosen;
}
const AttentionLoops& attention_loops() {
  static const AttentionLoops& chosen = vectors::pick(base::attention_loops, v3::attention_loops, v4::attention_loops);
  return chosen;
}
// They need level v4 too.
bool has_bf16_loops() {
  static const bool has = vectors::chosen() == vectors::Level::kV4 && __builtin_cpu_supports("avx512bf16");
  return has;
}
const AttentionLoops* bf16_attention_loops() { return has_bf16_loops() ? &bf16::attention_loops : nullptr; }
const AttentionLoops* amx_attention_loops() { return has_bf16_loops() ? &amx::attention_loops : nullptr; }
const PackLoops& pack_loops() {
  static const PackLoops& chosen =
      has_bf16_loops() ? bf16::pack_loops : vectors::pick(base::pack_loops, v3::pack_loops, v4::pack_loops);
  return chosen;
}
#else
const RowLoops& rows() { return base::row_loops; }
template <>
const ChannelLoops<float>& channel_loops<float>() {
  return base::channel_loops_float32;
}
template <>
const ChannelLoops<uint16_t>& channel_loops<uint16_t>() {
  return base::channel_loops_bfloat16;
}
const AttentionLoops& attention_loops() { return base::attention_loops; }
const AttentionLoops* bf16_attention_loops() { return nullptr; }
const AttentionLoops* amx_attention_loops() { return nullptr; }
const PackLoops& pack_loops() { return base::pack_loops; }
bool has_bf16_loops() { return false; }
#endif

}  // namespace dino
