// Attention of one head of one sample: products of small matrices in registers, and softmax between them.
//
// libtorch's fused attention calls the matrix library for each small block, which spends most of its time on packing: with
// 37 tokens of 64 numbers it reaches a sixth of the processor's rate for large products. Here kQueries queries at a time
// are multiplied with all keys, so that a block of scores (kQueries, tokens) stays in the cache.
#include <cmath>
#include <cstring>

#include "loops.h"
#include "softmax.h"

namespace dino::DINO_LEVEL {
namespace {

#if defined(__AVX512F__)
constexpr int64_t kLanes = 16, kRows = 12;
#elif defined(__AVX__)
constexpr int64_t kLanes = 8, kRows = 6;
#else
constexpr int64_t kLanes = 4, kRows = 3;
#endif
typedef float Vector __attribute__((vector_size(kLanes * sizeof(float))));

constexpr int64_t kColumns = 16;  // of a tile in registers
constexpr int64_t kVectors = kColumns / kLanes;
constexpr int64_t kQueries = 48;  // a multiple of every kRows

inline Vector load(const float* from) {
  Vector v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
inline void store(float* to, Vector v) { std::memcpy(to, &v, sizeof v); }

// A matrix in memory: element (row, column) at data[row * row_stride + column * column_stride].
struct View {
  const float* data;
  int64_t row_stride, column_stride;
};

// C (R, 16) = or += A (R, depth) B (depth, 16)
template <int R>
inline void tile(int64_t depth, View a, const float* b, int64_t b_stride, float* c, int64_t c_stride, bool adds) {
  Vector sums[R][kVectors];
#pragma GCC unroll 12
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; v++) sums[r][v] = adds ? load(c + r * c_stride + v * kLanes) : Vector{};
  for (int64_t i = 0; i < depth; i++) {
    Vector row[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; v++) row[v] = load(b + i * b_stride + v * kLanes);
#pragma GCC unroll 12
    for (int r = 0; r < R; r++) {
      const float x = a.data[r * a.row_stride + i * a.column_stride];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; v++) sums[r][v] += x * row[v];
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; v++) store(c + r * c_stride + v * kLanes, sums[r][v]);
}

// The last rows, fewer than kRows.
template <int R>
inline void rest_of_rows(int64_t rows, int64_t depth, View a, const float* b, int64_t b_stride, float* c,
                         int64_t c_stride, bool adds) {
  if constexpr (R > 0) {
    if (rows == R) return tile<R>(depth, a, b, b_stride, c, c_stride, adds);
    rest_of_rows<R - 1>(rows, depth, a, b, b_stride, c, c_stride, adds);
  }
}

// C (rows, columns) = or += A (rows, depth) B (depth, columns); columns is a multiple of 16.
void product(int64_t rows, int64_t columns, int64_t depth, View a, const float* b, int64_t b_stride, float* c,
             int64_t c_stride, bool adds) {
  for (int64_t j = 0; j < columns; j += kColumns) {
    int64_t i = 0;
    for (; i + kRows <= rows; i += kRows)
      tile<kRows>(depth, {a.data + i * a.row_stride, a.row_stride, a.column_stride}, b + j, b_stride,
                  c + i * c_stride + j, c_stride, adds);
    rest_of_rows<kRows - 1>(rows - i, depth, {a.data + i * a.row_stride, a.row_stride, a.column_stride}, b + j,
                            b_stride, c + i * c_stride + j, c_stride, adds);
  }
}

// (tokens, dim) without gaps
void pack(const float* from, int64_t stride, int64_t tokens, int64_t dim, float* to) {
  for (int64_t t = 0; t < tokens; t++) std::memcpy(to + t * dim, from + t * stride, dim * sizeof(float));
}

// (tokens, dim) as (dim, padded), zeros beyond the tokens
void pack_transposed(const float* from, int64_t stride, int64_t tokens, int64_t dim, float* to, int64_t padded) {
  for (int64_t begin = 0; begin < dim; begin += 16) {  // a cache line of each token
    for (int64_t t = 0; t < tokens; t++)
      for (int64_t i = begin; i < begin + 16; i++) to[i * padded + t] = from[t * stride + i];
  }
  for (int64_t i = 0; i < dim; i++)
    for (int64_t t = tokens; t < padded; t++) to[i * padded + t] = 0;
}

int64_t pad(int64_t tokens) { return (tokens + kColumns - 1) / kColumns * kColumns; }

// Floats of scratch memory for one head, enough for the forward and the backward pass.
int64_t scratch(int64_t tokens, int64_t dim) {
  return 2 * dim * pad(tokens) + 4 * tokens * dim + 2 * kQueries * pad(tokens) + 2 * tokens;
}

void forward(Head h, float* out, int64_t out_stride, float* lse, float* memory) {
  const int64_t padded = pad(h.tokens);
  const float scale = 1.0f / std::sqrt(static_cast<float>(h.dim));
  float* keys = memory;                       // (dim, padded)
  float* values = keys + h.dim * padded;      // (tokens, dim)
  float* scores = values + h.tokens * h.dim;  // (kQueries, padded)
  pack_transposed(h.k, h.stride, h.tokens, h.dim, keys, padded);
  pack(h.v, h.stride, h.tokens, h.dim, values);
  for (int64_t from = 0; from < h.tokens; from += kQueries) {
    const int64_t n = h.tokens - from < kQueries ? h.tokens - from : kQueries;
    product(n, padded, h.dim, {h.q + from * h.stride, h.stride, 1}, keys, padded, scores, padded, false);
    float inverse[kQueries];
    for (int64_t r = 0; r < n; r++) {
      float* row = scores + r * padded;
      const SoftmaxSum sum = softmax_row(row, h.tokens, scale);
      inverse[r] = sum.inverse;
      lse[from + r] = sum.log;
    }
    float* to = out + from * out_stride;
    product(n, h.dim, h.tokens, {scores, padded, 1}, values, h.dim, to, out_stride, false);
    for (int64_t r = 0; r < n; r++)
      for (int64_t i = 0; i < h.dim; i++) to[r * out_stride + i] *= inverse[r];
  }
}

void backward(Head h, const float* out, const float* grad_out, int64_t out_stride, const float* lse, float* grad_q,
              float* grad_k, float* grad_v, float* memory) {
  const int64_t padded = pad(h.tokens), size = h.tokens * h.dim;
  const float scale = 1.0f / std::sqrt(static_cast<float>(h.dim));
  float* keys = memory;                   // (dim, padded)
  float* values = keys + h.dim * padded;  // (dim, padded)
  float* q = values + h.dim * padded;     // (tokens, dim)
  float* k = q + size;                    // (tokens, dim)
  float* g = k + size;                    // (tokens, dim), grad_out
  float* weights = g + size;              // (kQueries, padded)
  float* grad_scores = weights + kQueries * padded;
  pack_transposed(h.k, h.stride, h.tokens, h.dim, keys, padded);
  pack_transposed(h.v, h.stride, h.tokens, h.dim, values, padded);
  pack(h.q, h.stride, h.tokens, h.dim, q);
  pack(h.k, h.stride, h.tokens, h.dim, k);
  pack(grad_out, out_stride, h.tokens, h.dim, g);
  for (int64_t from = 0; from < h.tokens; from += kQueries) {
    const int64_t n = h.tokens - from < kQueries ? h.tokens - from : kQueries;
    const bool adds = from > 0;
    const float *queries = q + from * h.dim, *grads = g + from * h.dim;
    product(n, padded, h.dim, {queries, h.dim, 1}, keys, padded, weights, padded, false);
    product(n, padded, h.dim, {grads, h.dim, 1}, values, padded, grad_scores, padded, false);
    for (int64_t r = 0; r < n; r++) {
      softmax_backward_row(weights + r * padded, grad_scores + r * padded, h.tokens, lse[from + r], scale,
                           out + (from + r) * out_stride, grads + r * h.dim, h.dim);
    }
    product(n, h.dim, h.tokens, {grad_scores, padded, 1}, k, h.dim, grad_q + from * h.stride, h.stride, false);
    product(h.tokens, h.dim, n, {weights, 1, padded}, grads, h.dim, grad_v, h.stride, adds);
    product(h.tokens, h.dim, n, {grad_scores, 1, padded}, queries, h.dim, grad_k, h.stride, adds);
  }
}

}  // namespace

extern const AttentionLoops attention_loops{scratch, forward, backward};

}  // namespace dino::DINO_LEVEL
