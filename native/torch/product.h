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

// out = beta * out + alpha * a b, for float32 matrices on the CPU: a (M, K) and b (K, N) contiguous or transposed, out (M, N)
// contiguous.
void multiply(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b, double beta = 0, double alpha = 1);

// The same where b is a weight or its transpose: what is rounded and packed of it is kept by the PackedWeights in use.
void multiply_by_weight(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b, double beta = 0,
                        double alpha = 1);

// Weights as products in bfloat16 read them, so that each is rounded and packed once for several products: of micro-batches, of
// crops of different sizes, of groups of images.
class PackedWeights {
 public:
  // The packed b (K, N). `pack` is called again when an operator has changed b since.
  template <typename Pack>
  at::Tensor find(const at::Tensor& b, Pack pack) {
    // not of an inference tensor, whose changes are not counted, nor of one computed for a single product
    if (b.is_inference() || !(b.is_view() ? b._base() : b).is_leaf()) return pack(b);
    std::lock_guard<std::mutex> lock(mutex_);
    Entry& entry = entries_[{b.const_data_ptr(), b.size(0), b.size(1), b.stride(0), b.stride(1)}];
    if (!entry.packed.defined() || entry.version != b._version()) entry = {b, pack(b), b._version()};
    return entry.packed;
  }

 private:
  struct Entry {
    at::Tensor weight;  // kept, so that no other gets its address
    at::Tensor packed;
    int64_t version = 0;
  };
  std::mutex mutex_;
  std::map<std::tuple<const void*, int64_t, int64_t, int64_t, int64_t>, Entry> entries_;
};

// Those that this thread's products use, or null.
PackedWeights* packed_weights();

// Makes them these during its lifetime.
class PackedWeightsGuard {
 public:
  explicit PackedWeightsGuard(PackedWeights* weights);
  ~PackedWeightsGuard();
  PackedWeightsGuard(const PackedWeightsGuard&) = delete;
  PackedWeightsGuard& operator=(const PackedWeightsGuard&) = delete;

 private:
  PackedWeights* before_;
};

// x w^T + bias, (..., N); a null bias is left out.
at::Tensor linear(const at::Tensor& x, const at::Tensor& w, const std::optional<at::Tensor>& bias);

}  // namespace dino
