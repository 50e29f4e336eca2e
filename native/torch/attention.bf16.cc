// Attention of one head of one sample like attention.simd.cc, for products that may be computed in bfloat16: operands are
// rounded, sums, the softmax and its gradient are float32. Compiled once, for processors with avx512_bf16.
//
// The instruction multiplies pairs of consecutive numbers of the inner dimension, so every operand is packed in pairs: of a
// row's neighbours, or of two rows' numbers of a column; or it is the transpose of the first.
#include "loops.h"

#if defined(__AVX512BF16__)

#include <cmath>

#include "bf16.h"
#include "softmax.h"

namespace dino::DINO_LEVEL {

extern const PackLoops pack_loops;

namespace {

constexpr const PackLoops& pack = pack_loops;

using Pair = uint32_t;

constexpr int64_t kLanes = 16, kRows = 12;
constexpr int64_t kQueries = 48;  // at a time; a multiple of kRows

// Pairs in memory: element (row, pair) at data[row * row_stride + pair * pair_stride].
struct View {
  const Pair* data;
  int64_t row_stride, pair_stride;
};

// C (R, 16 V) = or += A (R, pairs) B (pairs, 16 V)
template <int R, int V>
inline void tile(int64_t pairs, View a, const Pair* b, int64_t b_stride, float* c, int64_t c_stride, bool adds) {
  __m512 sums[R][V];
#pragma GCC unroll 12
  for (int r = 0; r < R; r++)
#pragma GCC unroll 2
    for (int v = 0; v < V; v++)
      sums[r][v] = adds ? _mm512_loadu_ps(c + r * c_stride + v * kLanes) : _mm512_setzero_ps();
  for (int64_t i = 0; i < pairs; i++) {
    __m512i row[V];
#pragma GCC unroll 2
    for (int v = 0; v < V; v++) row[v] = _mm512_loadu_si512(b + i * b_stride + v * kLanes);
#pragma GCC unroll 12
    for (int r = 0; r < R; r++) {
      const __m512i x = _mm512_set1_epi32(static_cast<int>(a.data[r * a.row_stride + i * a.pair_stride]));
#pragma GCC unroll 2
      for (int v = 0; v < V; v++)
        sums[r][v] = _mm512_dpbf16_ps(sums[r][v], reinterpret_cast<__m512bh>(x), reinterpret_cast<__m512bh>(row[v]));
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < R; r++)
#pragma GCC unroll 2
    for (int v = 0; v < V; v++) _mm512_storeu_ps(c + r * c_stride + v * kLanes, sums[r][v]);
}

// The last rows, fewer than kRows.
template <int R, int V>
inline void rest_of_rows(int64_t rows, int64_t pairs, View a, const Pair* b, int64_t b_stride, float* c,
                         int64_t c_stride, bool adds) {
  if constexpr (R > 0) {
    if (rows == R) return tile<R, V>(pairs, a, b, b_stride, c, c_stride, adds);
    rest_of_rows<R - 1, V>(rows, pairs, a, b, b_stride, c, c_stride, adds);
  }
}

// C (rows, 16 V) = or += A (rows, pairs) B (pairs, 16 V)
template <int V>
void stripe(int64_t rows, int64_t pairs, View a, const Pair* b, int64_t b_stride, float* c, int64_t c_stride,
            bool adds) {
  int64_t i = 0;
  for (; i + kRows <= rows; i += kRows)
    tile<kRows, V>(pairs, {a.data + i * a.row_stride, a.row_stride, a.pair_stride}, b, b_stride, c + i * c_stride,
                   c_stride, adds);
  rest_of_rows<kRows - 1, V>(rows - i, pairs, {a.data + i * a.row_stride, a.row_stride, a.pair_stride}, b, b_stride,
                             c + i * c_stride, c_stride, adds);
}

// C (rows, columns) = or += A (rows, 2 pairs) B (2 pairs, columns); columns is a multiple of 16.
void product(int64_t rows, int64_t columns, int64_t pairs, View a, const Pair* b, int64_t b_stride, float* c,
             int64_t c_stride, bool adds) {
  int64_t j = 0;
  for (; j + 2 * kLanes <= columns; j += 2 * kLanes) stripe<2>(rows, pairs, a, b + j, b_stride, c + j, c_stride, adds);
  if (j < columns) stripe<1>(rows, pairs, a, b + j, b_stride, c + j, c_stride, adds);
}

// (n, width) as pairs of neighbours, (n, width / 2). width is a multiple of 16.
void pack_rows(const float* from, int64_t stride, int64_t n, int64_t width, Pair* to) {
  for (int64_t t = 0; t < n; t++)
    for (int64_t i = 0; i < width; i += kLanes)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + (t * width + i) / 2),
                          reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(_mm512_loadu_ps(from + t * stride + i))));
}

int64_t pad(int64_t tokens) { return (tokens + kLanes - 1) / kLanes * kLanes; }

// Numbers of 4 bytes for one head, enough for the forward and the backward pass.
int64_t scratch(int64_t tokens, int64_t dim) {
  const int64_t padded = pad(tokens), halves = (tokens + 1) / 2;
  return dim * padded + 2 * tokens * dim / 2 + 3 * halves * dim + (2 * kQueries + 3 * kQueries / 2) * padded;
}

void forward(Head h, float* out, int64_t out_stride, float* lse, float* memory) {
  const int64_t padded = pad(h.tokens), pairs = h.dim / 2, halves = (h.tokens + 1) / 2;
  const float scale = 1.0f / std::sqrt(static_cast<float>(h.dim));
  Pair* rows = reinterpret_cast<Pair*>(memory);  // (tokens, dim / 2)
  Pair* keys = rows + h.tokens * pairs;          // (dim / 2, padded)
  Pair* values = keys + pairs * padded;          // (tokens / 2, dim)
  Pair* weights = values + halves * h.dim;       // (kQueries, padded / 2)
  float* scores = memory + (h.tokens * pairs + pairs * padded + halves * h.dim + kQueries * padded / 2);
  pack.pair_columns(h.k, h.stride, keys, padded, h.tokens, h.dim);
  pack_rows(h.q, h.stride, h.tokens, h.dim, rows);
  pack.pair_rows(h.v, h.stride, values, h.dim, h.dim, h.tokens);
  for (int64_t from = 0; from < h.tokens; from += kQueries) {
    const int64_t n = h.tokens - from < kQueries ? h.tokens - from : kQueries;
    product(n, padded, pairs, {rows + from * pairs, pairs, 1}, keys, padded, scores, padded, false);
    float inverse[kQueries];
    for (int64_t r = 0; r < n; r++) {
      float* row = scores + r * padded;
      const SoftmaxSum sum = softmax_row(row, h.tokens, scale);
      for (int64_t i = h.tokens; i < padded; i++) row[i] = 0;
      inverse[r] = sum.inverse;
      lse[from + r] = sum.log;
    }
    pack_rows(scores, padded, n, padded, weights);
    float* to = out + from * out_stride;
    product(n, h.dim, halves, {weights, padded / 2, 1}, values, h.dim, to, out_stride, false);
    for (int64_t r = 0; r < n; r++)
      for (int64_t i = 0; i < h.dim; i++) to[r * out_stride + i] *= inverse[r];
  }
}

void backward(Head h, const float* out, const float* grad_out, int64_t out_stride, const float* lse, float* grad_q,
              float* grad_k, float* grad_v, float* memory) {
  const int64_t padded = pad(h.tokens), pairs = h.dim / 2, halves = (h.tokens + 1) / 2;
  const float scale = 1.0f / std::sqrt(static_cast<float>(h.dim));
  Pair* q = reinterpret_cast<Pair*>(memory);  // (tokens, dim / 2)
  Pair* g = q + h.tokens * pairs;             // (tokens, dim / 2), grad_out
  Pair* keys = g + h.tokens * pairs;          // (dim / 2, padded)
  Pair* values = keys + pairs * padded;       // (dim / 2, padded)
  Pair* k_pairs = values + pairs * padded;    // (tokens / 2, dim), as the next two
  Pair* q_pairs = k_pairs + halves * h.dim;
  Pair* g_pairs = q_pairs + halves * h.dim;
  Pair* score_rows = g_pairs + halves * h.dim;                                     // (kQueries, padded / 2)
  Pair* weight_pairs = score_rows + kQueries * padded / 2;                         // (kQueries / 2, padded)
  Pair* score_pairs = weight_pairs + kQueries / 2 * padded;                        // (kQueries / 2, padded)
  float* weights = reinterpret_cast<float*>(score_pairs + kQueries / 2 * padded);  // (kQueries, padded)
  float* grad_scores = weights + kQueries * padded;
  pack.pair_columns(h.k, h.stride, keys, padded, h.tokens, h.dim);
  pack.pair_columns(h.v, h.stride, values, padded, h.tokens, h.dim);
  pack_rows(h.q, h.stride, h.tokens, h.dim, q);
  pack_rows(grad_out, out_stride, h.tokens, h.dim, g);
  pack.pair_rows(h.k, h.stride, k_pairs, h.dim, h.dim, h.tokens);
  pack.pair_rows(h.q, h.stride, q_pairs, h.dim, h.dim, h.tokens);
  pack.pair_rows(grad_out, out_stride, g_pairs, h.dim, h.dim, h.tokens);
  for (int64_t from = 0; from < h.tokens; from += kQueries) {
    const int64_t n = h.tokens - from < kQueries ? h.tokens - from : kQueries;
    const bool adds = from > 0;
    product(n, padded, pairs, {q + from * pairs, pairs, 1}, keys, padded, weights, padded, false);
    product(n, padded, pairs, {g + from * pairs, pairs, 1}, values, padded, grad_scores, padded, false);
    for (int64_t r = 0; r < n; r++) {
      const int64_t row = (from + r) * out_stride;
      float *w = weights + r * padded, *grad_s = grad_scores + r * padded;
      softmax_backward_row(w, grad_s, h.tokens, lse[from + r], scale, out + row, grad_out + row, h.dim);
      for (int64_t i = h.tokens; i < padded; i++) w[i] = grad_s[i] = 0;
    }
    const int64_t some = (n + 1) / 2;  // pairs of queries
    pack_rows(grad_scores, padded, n, padded, score_rows);
    pack.pair_rows(grad_scores, padded, score_pairs, padded, padded, n);
    pack.pair_rows(weights, padded, weight_pairs, padded, padded, n);
    product(n, h.dim, halves, {score_rows, padded / 2, 1}, k_pairs, h.dim, grad_q + from * h.stride, h.stride, false);
    product(h.tokens, h.dim, some, {weight_pairs, 1, padded}, g_pairs + from / 2 * h.dim, h.dim, grad_v, h.stride,
            adds);
    product(h.tokens, h.dim, some, {score_pairs, 1, padded}, q_pairs + from / 2 * h.dim, h.dim, grad_k, h.stride, adds);
  }
}

}  // namespace

extern const AttentionLoops attention_loops{scratch, forward, backward};

}  // namespace dino::DINO_LEVEL

#endif
