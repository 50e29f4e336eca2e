// Matrix products of our own operators, in the precision that precision.h sets.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace dino {

// out = beta * out + alpha * a b, for float32 matrices on the CPU: a (M, K) and b (K, N) contiguous or transposed, out (M, N)
// contiguous.
void multiply(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b, double beta = 0, double alpha = 1);

// x w^T + bias, (..., N); a null bias is left out.
at::Tensor linear(const at::Tensor& x, const at::Tensor& w, const std::optional<at::Tensor>& bias);

}  // namespace dino
