// One row of an attention's softmax and of its backward pass, between the products of attention.simd.cc and attention.bf16.cc.
#pragma once

#include <cmath>
#include <cstdint>

#include "exp.h"

namespace dino::DINO_LEVEL {
namespace {

struct SoftmaxSum {
  float inverse, log;  // 1 / sum, which is left to the caller to multiply by; the logarithm of the sum, not shifted
};

// scores (n) become exp(scale * (score - the largest)).
inline SoftmaxSum softmax_row(float* scores, int64_t n, float scale) {
  float largest = scores[0];
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < n; i++) largest = scores[i] > largest ? scores[i] : largest;
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; i++) {
    scores[i] = fast_exp((scores[i] - largest) * scale);
    sum += scores[i];
  }
  return {1.0f / sum, largest * scale + std::log(sum)};
}

// scores (n) become the softmax's weights, from the logarithm of their sum; `gradient`, that of the weights on entry, becomes
// that of the scores. out and grad_out (dim) are the attention's result of this row and its gradient.
inline void softmax_backward_row(float* scores, float* gradient, int64_t n, float log_sum, float scale,
                                 const float* out, const float* grad_out, int64_t dim) {
  float mean = 0;  // weighted mean of the row's gradient, which softmax's backward pass subtracts
#pragma omp simd reduction(+ : mean)
  for (int64_t i = 0; i < dim; i++) mean += out[i] * grad_out[i];
#pragma omp simd
  for (int64_t i = 0; i < n; i++) {
    const float p = fast_exp(scores[i] * scale - log_sum);
    scores[i] = p;
    gradient[i] = p * (gradient[i] - mean) * scale;
  }
}

}  // namespace
}  // namespace dino::DINO_LEVEL
