// Matrix products of our own operators, in the precision that precision.h sets.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <mutex>
#include <optional>
#include <tuple>

namespace dino {

// Whether products of our own operators round their operands to bfloat16 themselves.
bool packs_bf16();

// Whether products of bfloat16 may use AMX.
bool has_amx();

// Whether they pack their operands at all, in bfloat16 or in float32.
bool packs();

// out = beta * out + alpha * a b, for float32 matrices on the CPU: a (M, K) and b (K, N) contiguous or transposed, out (M, N)
// contiguous.
void multiply(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b, double beta = 0, double alpha = 1);

// The same where b is a weight or its transpose: it is packed once in the lifetime of a PackedWeightsGuard.
void multiply_by_weight(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b, double beta = 0,
                        double alpha = 1);

// The weights of an operator as products of blocks read them, for all its chunks of rows, or groups of images in threads.
class PackedWeights {
 public:
  // The packed b (K, N).
  template <typename Pack>
  at::Tensor find(const at::Tensor& b, Pack pack) {
    std::lock_guard<std::mutex> lock(mutex_);
    at::Tensor& packed = packed_[{b.const_data_ptr(), b.size(0), b.size(1), b.stride(0), b.stride(1)}];
    if (!packed.defined()) packed = pack(b);
    return packed;
  }

 private:
  std::mutex mutex_;
  std::map<std::tuple<const void*, int64_t, int64_t, int64_t, int64_t>, at::Tensor>
      packed_;  // by address, sizes, strides
};

// In an operator: its thread's products use the weights that are packed already, or else new ones.
class PackedWeightsGuard {
 public:
  PackedWeightsGuard();
  explicit PackedWeightsGuard(PackedWeights& of_other_thread);
  ~PackedWeightsGuard();
  PackedWeightsGuard(const PackedWeightsGuard&) = delete;
  PackedWeightsGuard& operator=(const PackedWeightsGuard&) = delete;

  PackedWeights& weights() const { return *used_; }

 private:
  PackedWeights own_, *before_, *used_;
};

// x w^T + bias, (..., N); a null bias is left out.
at::Tensor linear(const at::Tensor& x, const at::Tensor& w, const std::optional<at::Tensor>& bias);

}  // namespace dino
