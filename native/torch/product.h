// Matrix products of our own operators, in the precision that precision.h sets.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
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

// Products of rows by one weight in bfloat16, a block of rows at a time, each in the calling thread: what an operator does to the
// rows before and after stays in the thread's cache, and no thread waits for another in between.
class RowProduct {
 public:
  // b (K, N), a weight or its transpose; packed like one of multiply_by_weight(). depth and columns are what the rows have that it
  // multiplies, and those of the result: they are pointers alone, and b must fit them.
  RowProduct(const at::Tensor& b, int64_t depth, int64_t columns);

  // Bytes of so many rounded rows.
  int64_t left_size(int64_t rows) const;
  // Numbers of the weight.
  int64_t numel() const { return depth_ * columns_; }
  // Rounds scale * x (height, K), whose rows are `stride` apart.
  void round(const float* x, int64_t stride, float scale, int64_t height, void* left) const;
  // out (height, N) = or += left b; rows of out are `stride` apart.
  void multiply(const void* left, int64_t height, float* out, int64_t stride, bool adds) const;

 private:
  at::Tensor packed_;
  int64_t depth_, columns_;
};

// What an operator needs for a block of rows: how many rows it has at most, and where each piece begins in the thread's memory.
class BlockPlan {
 public:
  // Weights that don't fit in a core's cache are read again for each block: then it has more rows.
  explicit BlockPlan(int64_t weights) : rows_(weights > 512 * 1024 ? 128 : 64) {}

  int64_t rows() const { return rows_; }
  // n numbers for each row
  int64_t floats(int64_t n) { return bytes(rows_ * n * sizeof(float)); }
  int64_t left(const RowProduct& product) { return bytes(product.left_size(rows_)); }
  int64_t size() const { return size_; }

 private:
  int64_t bytes(int64_t n) {
    const int64_t at = size_;
    size_ += (n + 63) / 64 * 64;
    return at;
  }
  int64_t rows_, size_ = 0;
};

inline float* floats(char* memory, int64_t at) { return reinterpret_cast<float*>(memory + at); }

// The right operand (K, N) of a product in bfloat16, which is rounded and packed a block of rows at a time.
class RightOperand {
 public:
  RightOperand(int64_t rows, int64_t columns);

  // Rows [row, row + height) are those of x, which are `stride` apart. `row` is even, and `height` too, except at the end.
  void put(const float* x, int64_t stride, int64_t row, int64_t height) const;
  // out (M, N) = (adds ? out : 0) + alpha * a b, for a (M, K)
  void multiply(const at::Tensor& out, const at::Tensor& a, bool adds, double alpha = 1) const;

 private:
  int64_t rows_, columns_;
  at::Tensor packed_;
};

// Whether products of so many rows are computed by RowProduct: enough of them for all threads.
bool has_row_products(int64_t rows);

// fn(row, height, part, memory) for every block of rows: those of a part one after another in one thread, with memory of its own. The
// parts are the same for the same number of rows and threads.
void each_block(int64_t rows, const BlockPlan& plan,
                const std::function<void(int64_t row, int64_t height, int64_t part, char* memory)>& fn);

// x w^T + bias, (..., N); a null bias is left out.
at::Tensor linear(const at::Tensor& x, const at::Tensor& w, const std::optional<at::Tensor>& bias);

}  // namespace dino
