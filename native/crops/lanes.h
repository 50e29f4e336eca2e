// What the loops of every level share. No templates of the standard library: the linker keeps one copy of each for all levels,
// which could be the one that was compiled for AVX-512.
#pragma once

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace crops::DINO_LEVEL {
namespace {

template <typename T>
inline T least(T a, T b) {
  return b < a ? b : a;
}

template <typename T>
inline T most(T a, T b) {
  return a < b ? b : a;
}

}  // namespace
}  // namespace crops::DINO_LEVEL
