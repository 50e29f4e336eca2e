// Loops over one row: layer norm, GELU, and sums, with their gradients.
#include <cmath>

#include "exp.h"
#include "loops.h"

namespace dino::DINO_LEVEL {
namespace {

struct Gelu {
  float value, slope;
};

// Phi after Abramowitz and Stegun 7.1.26, with an error below 1e-7.
inline Gelu gelu(float x) {
  const float density = fast_exp(-0.5f * x * x);
  const float t = 1.0f / (1.0f + 0.3275911f * 0.70710678f * std::fabs(x));
  const float tail = 0.5f * density * t *
                     (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
  const float phi = x > 0.0f ? 1.0f - tail : tail;
  return {x * phi, phi + x * density * 0.39894228f};  // 1 / sqrt(2 pi)
}

RowStatistics layer_norm_row(const float* x, const float* weight, const float* bias, float eps, float* y, int64_t n) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; i++) sum += x[i];
  const float mean = sum / n;
  float squares = 0;
#pragma omp simd reduction(+ : squares)
  for (int64_t i = 0; i < n; i++) squares += (x[i] - mean) * (x[i] - mean);
  const float rstd = 1.0f / std::sqrt(squares / n + eps);
  for (int64_t i = 0; i < n; i++) y[i] = (x[i] - mean) * rstd * weight[i] + bias[i];
  return {mean, rstd};
}

void normalize_row(const float* x, RowStatistics at, const float* weight, const float* bias, float* y, int64_t n) {
  for (int64_t i = 0; i < n; i++) y[i] = (x[i] - at.mean) * at.rstd * weight[i] + bias[i];
}

void layer_norm_backward_row(const float* x, RowStatistics at, const float* weight, const float* upstream,
                             float* gradient, LayerNormSums sums, int64_t n) {
  float mean = 0, slope = 0;  // means of the gradient of the normalized row, and of its product with that row
#pragma omp simd reduction(+ : mean, slope)
  for (int64_t i = 0; i < n; i++) {
    const float g = gradient[i] * weight[i];
    mean += g;
    slope += g * (x[i] - at.mean) * at.rstd;
  }
  mean /= n;
  slope /= n;
#pragma omp simd
  for (int64_t i = 0; i < n; i++) {
    const float g = gradient[i], normalized = (x[i] - at.mean) * at.rstd;
    sums.weight[i] += g * normalized;
    sums.bias[i] += g;
    gradient[i] = at.rstd * (g * weight[i] - mean - normalized * slope);
  }
#pragma omp simd
  for (int64_t i = 0; i < n; i++) {
    sums.upstream[i] += upstream[i];
    gradient[i] += upstream[i];
  }
}

void skip_row(const float* x, const float* bias, float scale, float* out, int64_t n) {
  if (x == nullptr) {
    for (int64_t i = 0; i < n; i++) out[i] = scale * bias[i];
    return;
  }
  for (int64_t i = 0; i < n; i++) out[i] = x[i] + scale * bias[i];
}

void gelu_row(float* h, const float* bias, float* value, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; i++) {
    const float x = h[i] + bias[i];
    h[i] = x;
    value[i] = gelu(x).value;
  }
}

void gelu_backward_row(const float* h, float* gradient, float* value, float* sum, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; i++) {
    const Gelu at = gelu(h[i]);
    value[i] = at.value;
    const float product = gradient[i] * at.slope;
    gradient[i] = product;
    sum[i] += product;
  }
}

void add_row(const float* x, float* sum, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; i++) sum[i] += x[i];
}

}  // namespace

extern const RowLoops row_loops{layer_norm_row,    normalize_row, layer_norm_backward_row, skip_row, gelu_row,
                                gelu_backward_row, add_row};

}  // namespace dino::DINO_LEVEL
