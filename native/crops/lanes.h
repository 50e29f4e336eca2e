// What the loops of every level share. Nothing of the standard library's templates: a copy of one that was compiled for
// AVX-512 could be the one that the linker keeps for all.
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
