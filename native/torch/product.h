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
    if (b.is_inference()) return pack(b);  // its changes are not counted
    const Key key{b.const_data_ptr(), b.size(0), b.size(1), b.stride(0), b.stride(1)};
    // of those computed from others, for a single operator, only the last is kept
    const bool is_parameter = (b.is_view() ? b._base() : b).is_leaf();
    std::lock_guard<std::mutex> lock(mutex_);
    Entry& entry = is_parameter ? entries_[key] : last_;
    if (entry.key != key || entry.version != b._version()) entry = {key, b._version(), b, pack(b)};
    return entry.packed;
  }

 private:
  using Key = std::tuple<const void*, int64_t, int64_t, int64_t, int64_t>;  // address, sizes, strides
  struct Entry {
    Key key{};
    int64_t version = 0;
    at::Tensor weight, packed;  // the weight is kept, so that no other gets its address
  };
  std::mutex mutex_;
  std::map<Key, Entry> entries_;
  Entry last_;
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

// Within an operator: those that the thread uses already, or else new ones.
class LocalPackedWeights {
 public:
  LocalPackedWeights() : guard_(packed_weights() ? packed_weights() : &own_) {}

 private:
  PackedWeights own_;
  PackedWeightsGuard guard_;
};

// x w^T + bias, (..., N); a null bias is left out.
at::Tensor linear(const at::Tensor& x, const at::Tensor& w, const std::optional<at::Tensor>& bias);

}  // namespace dino
