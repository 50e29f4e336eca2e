// Rounding to bfloat16, which our loops share and the compiler can vectorize.
#pragma once

#include <cstdint>
#include <cstring>

namespace dino::DINO_LEVEL {
namespace {

// The nearest bfloat16, of two equally near the even one, as the lower half of a number; NaN stays NaN.
inline uint32_t rounded(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const uint32_t near = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return (bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : near;
}

}  // namespace
}  // namespace dino::DINO_LEVEL
