// Our own loops over float32 numbers, without libtorch. Every *.simd.cc is compiled once for each level of vector
// instructions (scripts/build-native.mjs), each in its own namespace, and one level is chosen at run time (../vectors.h).
#pragma once

#include <cstdint>

namespace dino {

struct RowStatistics {
  float mean, rstd;
};

// Sums over rows to which a layer norm's backward pass adds.
struct LayerNormSums {
  float *weight, *bias;  // gradients of the norm's parameters
  float* upstream;       // sum of the upstream gradient
};

// The operations on one row of n numbers between two matrix products.
struct RowLoops {
  // y = (x - mean) / sqrt(variance + eps) * weight + bias
  RowStatistics (*layer_norm)(const float* x, const float* weight, const float* bias, float eps, float* y, int64_t n);
  // The same from known statistics.
  void (*normalize)(const float* x, RowStatistics at, const float* weight, const float* bias, float* y, int64_t n);
  // `gradient` is that of y on entry; on return that of x plus the upstream gradient of the skip connection.
  void (*layer_norm_backward)(const float* x, RowStatistics at, const float* weight, const float* upstream,
                              float* gradient, LayerNormSums sums, int64_t n);
  // out = x + scale * bias; x may be null, for 0
  void (*skip)(const float* x, const float* bias, float scale, float* out, int64_t n);
  // h += bias, in place, and its GELU; value may be h itself.
  void (*gelu)(float* h, const float* bias, float* value, int64_t n);
  // value = GELU(h); gradient *= GELU'(h), in place; sum += that gradient, for the bias.
  void (*gelu_backward)(const float* h, float* gradient, float* value, float* sum, int64_t n);
  // sum += x
  void (*add)(const float* x, float* sum, int64_t n);
};

// One head of one sample: matrices (tokens, dim) whose rows are `stride` floats apart. dim is a multiple of 16.
struct Head {
  int64_t tokens, dim;
  const float *q, *k, *v;
  int64_t stride;  // of q, k, v, and of their gradients
};

struct AttentionLoops {
  // Floats of scratch memory that a head needs, forward and backward. It begins at a cache line.
  int64_t (*scratch)(int64_t tokens, int64_t dim);
  // out = softmax(q k^T / sqrt(dim)) v, its rows `out_stride` apart; lse (tokens): logarithms of the softmax's sums.
  void (*forward)(Head head, float* out, int64_t out_stride, float* lse, float* scratch);
  // Gradients of q, k, v from that of out, which has the same layout as out.
  void (*backward)(Head head, const float* out, const float* grad_out, int64_t out_stride, const float* lse,
                   float* grad_q, float* grad_k, float* grad_v, float* scratch);
};

// Operands of a product, in the layouts that its kernel for blocks reads (product.cc). `stride`s are in numbers of the matrix.
struct PackLoops {
  // out = scale * x, a row of n numbers.
  void (*scale)(const float* x, float scale, float* out, int64_t n);
  // out (columns, rows) = scale * the transpose of x (rows, columns).
  void (*transpose)(const float* x, int64_t stride, float scale, float* out, int64_t out_stride, int64_t columns,
                    int64_t rows);
  // The others round to bfloat16, the upper half of a float32 number.
  // A row of n numbers, multiplied by scale; a row of odd length is followed by a 0.
  void (*round)(const float* x, float scale, uint16_t* out, int64_t n);
  // The same of a matrix's columns, which become rows: x (rows, columns) to out (columns, rows).
  void (*round_columns)(const float* x, int64_t stride, float scale, uint16_t* out, int64_t out_stride, int64_t columns,
                        int64_t rows);
  // x (rows, columns) to out (rows / 2, out_stride), rounded up: of two consecutive rows the numbers of the same column stand
  // beside each other; what is left of out is 0.
  void (*pair_rows)(const float* x, int64_t stride, uint32_t* out, int64_t out_stride, int64_t columns, int64_t rows);
  // The same of the transpose: x (rows, columns) to out (columns / 2, out_stride). out_stride is a multiple of 16.
  void (*pair_columns)(const float* x, int64_t stride, uint32_t* out, int64_t out_stride, int64_t rows,
                       int64_t columns);
};

// What a batch norm at a position, and its gradient, need to know of each channel.
struct ChannelNorm {
  const float *mean, *scale, *shift;  // scale * (x - mean) + shift
};
struct ChannelGradient {
  const float *mean, *offset, *slope, *scale;  // scale * (upstream - offset - slope * (x - mean))
};

// Batch normalization of matrices (rows, channels), which a skip connection and ReLU may follow. T is float, or uint16_t for the bits
// of bfloat16; sums are float32.
template <typename T>
struct ChannelLoops {
  // The mean of each channel, and the sum of the squares of what is apart from it.
  void (*statistics)(const T* x, int64_t rows, int64_t channels, float* mean, float* spread);
  // y = norm(x) + skip, or its ReLU; skip may be null, for 0
  void (*apply)(const T* x, ChannelNorm norm, const T* skip, bool relu, T* y, int64_t rows, int64_t channels);
  // The sums of the upstream gradient, and of its product with x - mean; after ReLU where its result y is above 0, else y is null.
  void (*sums)(const T* upstream, const T* y, const T* x, const float* mean, float* sum, float* product, int64_t rows,
               int64_t channels);
  // The gradients of x and, where it is not null, of skip.
  void (*gradient)(const T* upstream, const T* y, const T* x, ChannelGradient of, T* gradient, T* skip, int64_t rows,
                   int64_t channels);
};

const RowLoops& rows();
template <typename T>
const ChannelLoops<T>& channel_loops();
const AttentionLoops& attention_loops();
// The same with products of bfloat16 (attention.bf16.cc); null where the processor or the level in use has none.
const AttentionLoops* bf16_attention_loops();
// The same by AMX (attention.amx.cc), which the caller has found on this processor and asked the system for.
const AttentionLoops* amx_attention_loops();
const PackLoops& pack_loops();
// Whether the loops of *.bf16.cc may be used.
bool has_bf16_loops();

}  // namespace dino
