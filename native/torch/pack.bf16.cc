// The loops of pack.simd.cc, transposing in registers, with instructions that round to bfloat16 (numbers below 2^-126 become 0).
#include "loops.h"

#if defined(__AVX512BF16__)

#include "bf16.h"

namespace dino::DINO_LEVEL {
namespace {

inline __m512 load(const float* x, int64_t n) { return _mm512_maskz_loadu_ps(first_lanes(n), x); }

void scale_row(const float* x, float scale, float* out, int64_t n) {
  const __m512 factor = _mm512_set1_ps(scale);
  for (int64_t i = 0; i < n; i += 16)
    _mm512_mask_storeu_ps(out + i, first_lanes(n - i), _mm512_mul_ps(load(x + i, n - i), factor));
}

void transpose_matrix(const float* x, int64_t stride, float scale, float* out, int64_t out_stride, int64_t columns,
                      int64_t rows) {
  const __m512 factor = _mm512_set1_ps(scale);
  for (int64_t r = 0; r < rows; r += 16) {
    const __mmask16 deep = first_lanes(rows - r);
    for (int64_t c = 0; c < columns; c += 16) {
      const __mmask16 wide = first_lanes(columns - c);
      __m512i tile[16];
#pragma GCC unroll 16
      for (int64_t i = 0; i < 16; i++) {
        const __m512 row = _mm512_maskz_loadu_ps(r + i < rows ? wide : 0, x + (r + i) * stride + c);
        tile[i] = _mm512_castps_si512(_mm512_mul_ps(row, factor));
      }
      transpose(tile);
      const int64_t width = columns - c < 16 ? columns - c : 16;
      for (int64_t i = 0; i < width; i++) _mm512_mask_storeu_epi32(out + (c + i) * out_stride + r, deep, tile[i]);
    }
  }
}

void round_row(const float* x, float scale, uint16_t* out, int64_t n) {
  const __m512 factor = _mm512_set1_ps(scale);
  int64_t i = 0;
  for (; i + 32 <= n; i += 32)
    _mm512_storeu_si512(out + i, round_neighbours(_mm512_mul_ps(_mm512_loadu_ps(x + i), factor),
                                                  _mm512_mul_ps(_mm512_loadu_ps(x + i + 16), factor)));
  if (i == n) return;
  const __m512i rest =
      round_neighbours(_mm512_mul_ps(load(x + i, n - i), factor), _mm512_mul_ps(load(x + i + 16, n - i - 16), factor));
  _mm512_mask_storeu_epi32(out + i, first_lanes((n - i + 1) / 2), rest);
}

// 32 rows become 16 pairs of rows, and these the 16 pairs of an output row.
void round_columns(const float* x, int64_t stride, float scale, uint16_t* out, int64_t out_stride, int64_t columns,
                   int64_t rows) {
  const __m512 factor = _mm512_set1_ps(scale);
  for (int64_t r = 0; r < rows; r += 32) {
    for (int64_t c = 0; c < columns; c += 16) {
      const __mmask16 wide = first_lanes(columns - c);
      __m512i tile[16];
#pragma GCC unroll 16
      for (int64_t i = 0; i < 16; i++) {
        const int64_t at = r + 2 * i;
        const float* from = x + at * stride + c;
        tile[i] = round_pairs(_mm512_mul_ps(_mm512_maskz_loadu_ps(at < rows ? wide : 0, from), factor),
                              _mm512_mul_ps(_mm512_maskz_loadu_ps(at + 1 < rows ? wide : 0, from + stride), factor));
      }
      transpose(tile);
      const __mmask16 deep = first_lanes((rows - r + 1) / 2);
      const int64_t width = columns - c < 16 ? columns - c : 16;
      for (int64_t i = 0; i < width; i++) _mm512_mask_storeu_epi32(out + (c + i) * out_stride + r, deep, tile[i]);
    }
  }
}

void pair_rows(const float* x, int64_t stride, uint32_t* out, int64_t out_stride, int64_t columns, int64_t rows) {
  for (int64_t r = 0; r < rows; r += 2) {
    const float* from = x + r * stride;
    for (int64_t c = 0; c < out_stride; c += 16) {
      const __mmask16 wide = first_lanes(columns - c);
      const __m512i pairs = round_pairs(_mm512_maskz_loadu_ps(wide, from + c),
                                        _mm512_maskz_loadu_ps(r + 1 < rows ? wide : 0, from + stride + c));
      _mm512_storeu_si512(out + r / 2 * out_stride + c, pairs);
    }
  }
}

void pair_columns(const float* x, int64_t stride, uint32_t* out, int64_t out_stride, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < out_stride; r += 16) {
    for (int64_t c = 0; c < columns; c += 32) {
      const __mmask16 first = first_lanes(columns - c), second = first_lanes(columns - c - 16);
      __m512i tile[16];
#pragma GCC unroll 16
      for (int64_t i = 0; i < 16; i++) {
        const float* from = x + (r + i) * stride + c;
        const bool is_row = r + i < rows;
        tile[i] = round_neighbours(_mm512_maskz_loadu_ps(is_row ? first : 0, from),
                                   _mm512_maskz_loadu_ps(is_row ? second : 0, from + 16));
      }
      transpose(tile);
      const int64_t pairs = (columns - c + 1) / 2 < 16 ? (columns - c + 1) / 2 : 16;
      for (int64_t i = 0; i < pairs; i++) _mm512_storeu_si512(out + (c / 2 + i) * out_stride + r, tile[i]);
    }
  }
}

}  // namespace

extern const PackLoops pack_loops{scale_row, transpose_matrix, round_row, round_columns, pair_rows, pair_columns};

}  // namespace dino::DINO_LEVEL

#endif
