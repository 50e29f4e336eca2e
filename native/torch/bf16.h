// Rounding to bfloat16 and transposing in AVX-512 registers, for the loops of processors with avx512_bf16 (*.bf16.cc).
#pragma once

#include <immintrin.h>

#include <cstdint>

#if !defined(__clang__)  // GCC 12 says it of its own header's intrinsics
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace dino::DINO_LEVEL {
namespace {

// The first n of 16 lanes.
inline __mmask16 first_lanes(int64_t n) {
  return static_cast<__mmask16>(n >= 16 ? 0xffff : (1 << (n < 0 ? 0 : n)) - 1);
}

// 32 numbers of a row in bfloat16, in order: 16 pairs of neighbours.
inline __m512i round_neighbours(__m512 first, __m512 second) {
  return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(second, first));
}

// Pairs of the numbers of two rows, in bfloat16: those of `even` in the lower halves.
inline __m512i round_pairs(__m512 even, __m512 odd) {
  const __m512i low = _mm512_cvtepu16_epi32(reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(even)));
  const __m512i high = _mm512_cvtepu16_epi32(reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(odd)));
  return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}

// A matrix of 16 x 16, in place.
inline void transpose(__m512i (&m)[16]) {
  __m512i t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(m[i], m[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(m[i], m[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    m[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    m[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    m[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    m[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  // m[4 g + i] holds column 4 q + i of rows 4 g to 4 g + 3 in its quarter q
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    const __m512i low = _mm512_shuffle_i32x4(m[i], m[4 + i], 0x88), high = _mm512_shuffle_i32x4(m[i], m[4 + i], 0xdd);
    const __m512i low2 = _mm512_shuffle_i32x4(m[8 + i], m[12 + i], 0x88),
                  high2 = _mm512_shuffle_i32x4(m[8 + i], m[12 + i], 0xdd);
    t[i] = _mm512_shuffle_i32x4(low, low2, 0x88);
    t[8 + i] = _mm512_shuffle_i32x4(low, low2, 0xdd);
    t[4 + i] = _mm512_shuffle_i32x4(high, high2, 0x88);
    t[12 + i] = _mm512_shuffle_i32x4(high, high2, 0xdd);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; i++) m[i] = t[i];
}

}  // namespace
}  // namespace dino::DINO_LEVEL
