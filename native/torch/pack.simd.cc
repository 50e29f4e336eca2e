// Copying float32 numbers, and rounding them to bfloat16, in the layouts that a product of blocks reads (product.cc).
#include "loops.h"
#include "rounding.h"

namespace dino::DINO_LEVEL {
namespace {

inline uint32_t pair(float even, float odd) { return rounded(even) | rounded(odd) << 16; }

void scale_row(const float* x, float scale, float* out, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; i++) out[i] = scale * x[i];
}

void transpose(const float* x, int64_t stride, float scale, float* out, int64_t out_stride, int64_t columns,
               int64_t rows) {
  constexpr int64_t kTile = 16;
  for (int64_t r = 0; r < rows; r += kTile) {
    const int64_t height = rows - r < kTile ? rows - r : kTile;
    for (int64_t c = 0; c < columns; c++)
      for (int64_t i = 0; i < height; i++) out[c * out_stride + r + i] = scale * x[(r + i) * stride + c];
  }
}

void round_row(const float* x, float scale, uint16_t* out, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; i++) out[i] = static_cast<uint16_t>(rounded(scale * x[i]));
  if (n % 2 != 0) out[n] = 0;
}

void round_columns(const float* x, int64_t stride, float scale, uint16_t* out, int64_t out_stride, int64_t columns,
                   int64_t rows) {
  constexpr int64_t kTile = 32;
  uint16_t tile[kTile][kTile];
  for (int64_t r = 0; r < rows; r += kTile) {
    const int64_t height = rows - r < kTile ? rows - r : kTile;
    for (int64_t c = 0; c < columns; c += kTile) {
      const int64_t width = columns - c < kTile ? columns - c : kTile;
      for (int64_t i = 0; i < height; i++) {
        const float* from = x + (r + i) * stride + c;
#pragma omp simd
        for (int64_t j = 0; j < width; j++) tile[i][j] = static_cast<uint16_t>(rounded(scale * from[j]));
      }
      for (int64_t j = 0; j < width; j++) {
        uint16_t* to = out + (c + j) * out_stride + r;
        for (int64_t i = 0; i < height; i++) to[i] = tile[i][j];
      }
    }
  }
  if (rows % 2 == 0) return;
  for (int64_t c = 0; c < columns; c++) out[c * out_stride + rows] = 0;
}

void pair_rows(const float* x, int64_t stride, uint32_t* out, int64_t out_stride, int64_t columns, int64_t rows) {
  for (int64_t r = 0; r < rows; r += 2) {
    const float *even = x + r * stride, *odd = even + stride;
    uint32_t* to = out + r / 2 * out_stride;
    if (r + 1 < rows) {
#pragma omp simd
      for (int64_t c = 0; c < columns; c++) to[c] = pair(even[c], odd[c]);
    } else {
      for (int64_t c = 0; c < columns; c++) to[c] = rounded(even[c]);
    }
    for (int64_t c = columns; c < out_stride; c++) to[c] = 0;
  }
}

void pair_columns(const float* x, int64_t stride, uint32_t* out, int64_t out_stride, int64_t rows, int64_t columns) {
  constexpr int64_t kTile = 16;
  uint32_t tile[kTile][kTile];
  const int64_t pairs = columns / 2;
  for (int64_t r = 0; r < out_stride; r += kTile) {
    const int64_t height = rows - r < kTile ? (rows > r ? rows - r : 0) : kTile;
    for (int64_t i = height; i < kTile; i++)
      for (int64_t j = 0; j < kTile; j++) tile[i][j] = 0;
    for (int64_t p = 0; p < pairs; p += kTile) {
      const int64_t width = pairs - p < kTile ? pairs - p : kTile;
      for (int64_t i = 0; i < height; i++) {
        const float* from = x + (r + i) * stride + 2 * p;
#pragma omp simd
        for (int64_t j = 0; j < width; j++) tile[i][j] = pair(from[2 * j], from[2 * j + 1]);
      }
      for (int64_t j = 0; j < width; j++) {
        uint32_t* to = out + (p + j) * out_stride + r;
        for (int64_t i = 0; i < kTile; i++) to[i] = tile[i][j];
      }
    }
    if (columns % 2 == 0) continue;
    uint32_t* last = out + pairs * out_stride + r;
    for (int64_t i = 0; i < kTile; i++) last[i] = i < height ? rounded(x[(r + i) * stride + columns - 1]) : 0;
  }
}

}  // namespace

extern const PackLoops pack_loops{scale_row, transpose, round_row, round_columns, pair_rows, pair_columns};

}  // namespace dino::DINO_LEVEL
