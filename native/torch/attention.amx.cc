// Attention of one head of one sample like attention.bf16.cc, by the matrix instructions of AMX: operands are rounded to
// bfloat16, sums, the softmax and its gradient are float32. Compiled once, for processors with amx_bf16.
//
// An instruction multiplies a tile of 16 rows of 16 pairs by one of 16 pairs of 16 columns. Everything is padded to whole tiles,
// with zeros where the padding is summed over. Gradients of keys and values are computed transposed, so that the softmax's weights, and
// their gradients, are right operands, as which they are packed without transposing.
#include "loops.h"

#if defined(__AMX_BF16__)

#include <cmath>
#include <cstring>

#include "bf16.h"
#include "softmax.h"

namespace dino {
namespace bf16 {
extern const PackLoops pack_loops;
extern const AttentionLoops attention_loops;
}  // namespace bf16

namespace DINO_LEVEL {
namespace {

constexpr const PackLoops& pack = bf16::pack_loops;

using Pair = uint32_t;

constexpr int64_t kSide = 16;     // of a tile: rows, columns, and pairs
constexpr int64_t kQueries = 32;  // at a time; one tile's pairs
constexpr int64_t kSummed = 256;  // queries whose gradients of keys and values are added in one product

int64_t pad(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// The intrinsics don't tell GCC 12 which memory they read.
inline void written() { asm volatile("" ::: "memory"); }

// All eight tiles are whole ones.
class Tiles {
 public:
  Tiles() {
    alignas(64) struct {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } config;
    asm volatile("" ::"r"(&config) : "memory");
    _tile_loadconfig(&config);
  }
  ~Tiles() { _tile_release(); }
};

// A matrix of pairs whose rows are `stride` elements of four bytes apart.
struct Tiled {
  const Pair* data;
  int64_t stride;
  const Pair* at(int64_t row, int64_t pair) const { return data + row * kSide * stride + pair * kSide; }
};

// Two by two tiles of C = or += A B
inline void square(int64_t pairs, Tiled a, Tiled b, float* c, int64_t c_stride, bool adds) {
  const int64_t bytes = 4 * c_stride;
  float* below = c + kSide * c_stride;
  if (adds) {
    _tile_loadd(0, c, bytes);
    _tile_loadd(1, c + kSide, bytes);
    _tile_loadd(2, below, bytes);
    _tile_loadd(3, below + kSide, bytes);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int64_t k = 0; k < pairs; k++) {
    _tile_loadd(4, a.at(0, k), 4 * a.stride);
    _tile_loadd(6, b.at(k, 0), 4 * b.stride);
    _tile_loadd(7, b.at(k, 1), 4 * b.stride);
    _tile_loadd(5, a.at(1, k), 4 * a.stride);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, c, bytes);
  _tile_stored(1, c + kSide, bytes);
  _tile_stored(2, below, bytes);
  _tile_stored(3, below + kSide, bytes);
}

// One tile of C = or += A B
inline void single(int64_t pairs, Tiled a, Tiled b, float* c, int64_t c_stride, bool adds) {
  if (adds)
    _tile_loadd(0, c, 4 * c_stride);
  else
    _tile_zero(0);
  for (int64_t k = 0; k < pairs; k++) {
    _tile_loadd(4, a.at(0, k), 4 * a.stride);
    _tile_loadd(6, b.at(k, 0), 4 * b.stride);
    _tile_dpbf16ps(0, 4, 6);
  }
  _tile_stored(0, c, 4 * c_stride);
}

// C (rows, columns) = or += A (rows, pairs) B (pairs, columns), all of them multiples of 16
void product(int64_t rows, int64_t columns, int64_t pairs, Tiled a, Tiled b, float* c, int64_t c_stride, bool adds) {
  written();
  const int64_t down = rows / kSide, across = columns / kSide, deep = pairs / kSide;
  for (int64_t j = 0; j < across; j += 2) {
    for (int64_t i = 0; i < down; i += 2) {
      const Tiled left{a.at(i, 0), a.stride}, right{b.at(0, j), b.stride};
      float* to = c + i * kSide * c_stride + j * kSide;
      if (i + 1 < down && j + 1 < across) {
        square(deep, left, right, to, c_stride, adds);
        continue;
      }
      for (int64_t y = i; y < down && y < i + 2; y++)
        for (int64_t x = j; x < across && x < j + 2; x++)
          single(deep, {a.at(y, 0), a.stride}, {b.at(0, x), b.stride}, c + y * kSide * c_stride + x * kSide, c_stride,
                 adds);
    }
  }
}

// (n, width) as pairs of neighbours, whose rows are `to_stride` pairs apart
void pack_rows(const float* from, int64_t stride, int64_t n, int64_t width, Pair* to, int64_t to_stride) {
  for (int64_t t = 0; t < n; t++)
    pack.round(from + t * stride, 1, reinterpret_cast<uint16_t*>(to + t * to_stride), width);
}

// Pairs of rows, (padded / 2, width), zeros after the last
void pack_pairs(const float* from, int64_t stride, int64_t n, int64_t width, Pair* to, int64_t padded) {
  pack.pair_rows(from, stride, to, width, width, n);
  const int64_t used = (n + 1) / 2;
  std::memset(to + used * width, 0, (padded / 2 - used) * width * sizeof(Pair));
}

// The transpose, (width, padded / 2), zeros after the last pair
void pack_columns(const float* from, int64_t stride, int64_t n, int64_t width, Pair* to, int64_t padded) {
  const int64_t used = (n + 1) / 2;
  for (int64_t i = 0; i < width; i++) std::memset(to + i * padded / 2 + used, 0, (padded / 2 - used) * sizeof(Pair));
  pack.round_columns(from, stride, 1, reinterpret_cast<uint16_t*>(to), padded, width, n);
}

// Sizes of a head in whole tiles.
struct Sizes {
  int64_t across, deep, pairs;  // tokens as columns, and summed over; pairs of a row of q
  explicit Sizes(int64_t tokens, int64_t dim)
      : across(pad(tokens, kSide)), deep(pad(tokens, 2 * kSide)), pairs(dim / 2) {}
};

int64_t scratch(int64_t tokens, int64_t dim) {
  if (dim % (2 * kSide) != 0) return bf16::attention_loops.scratch(tokens, dim);
  const Sizes s(tokens, dim);
  const int64_t operands = 2 * s.deep * s.pairs + 2 * s.pairs * s.across + 3 * s.deep / 2 * dim;
  const int64_t summed = 2 * (s.deep < kSummed ? s.deep : kSummed) / 2 * s.across;
  return operands + summed + kQueries * (2 * s.deep + s.deep / 2 + dim) + 2 * dim * s.across;
}

void forward(Head h, float* out, int64_t out_stride, float* lse, float* memory) {
  if (h.dim % (2 * kSide) != 0) return bf16::attention_loops.forward(h, out, out_stride, lse, memory);
  const Sizes s(h.tokens, h.dim);
  const float scale = 1.0f / std::sqrt(static_cast<float>(h.dim));
  Pair* rows = reinterpret_cast<Pair*>(memory);                               // (deep, pairs)
  Pair* keys = rows + s.deep * s.pairs;                                       // (pairs, across)
  Pair* values = keys + s.pairs * s.across;                                   // (deep / 2, dim)
  Pair* weights = values + s.deep / 2 * h.dim;                                // (kQueries, deep / 2)
  float* scores = reinterpret_cast<float*>(weights + kQueries * s.deep / 2);  // (kQueries, deep)
  float* result = scores + kQueries * s.deep;                                 // (kQueries, dim)
  pack.pair_columns(h.k, h.stride, keys, s.across, h.tokens, h.dim);
  pack_rows(h.q, h.stride, h.tokens, h.dim, rows, s.pairs);
  pack_pairs(h.v, h.stride, h.tokens, h.dim, values, s.deep);
  const Tiles tiles;
  for (int64_t from = 0; from < h.tokens; from += kQueries) {
    const int64_t n = h.tokens - from < kQueries ? h.tokens - from : kQueries, tall = pad(n, kSide);
    product(tall, s.across, s.pairs, {rows + from * s.pairs, s.pairs}, {keys, s.across}, scores, s.deep, false);
    float inverse[kQueries];
    for (int64_t r = 0; r < n; r++) {
      float* row = scores + r * s.deep;
      const SoftmaxSum sum = softmax_row(row, h.tokens, scale);
      for (int64_t i = h.tokens; i < s.deep; i++) row[i] = 0;
      inverse[r] = sum.inverse;
      lse[from + r] = sum.log;
    }
    pack_rows(scores, s.deep, n, s.deep, weights, s.deep / 2);
    product(tall, h.dim, s.deep / 2, {weights, s.deep / 2}, {values, h.dim}, result, h.dim, false);
    float* to = out + from * out_stride;
    for (int64_t r = 0; r < n; r++)
      for (int64_t i = 0; i < h.dim; i++) to[r * out_stride + i] = result[r * h.dim + i] * inverse[r];
  }
}

void backward(Head h, const float* out, const float* grad_out, int64_t out_stride, const float* lse, float* grad_q,
              float* grad_k, float* grad_v, float* memory) {
  if (h.dim % (2 * kSide) != 0)
    return bf16::attention_loops.backward(h, out, grad_out, out_stride, lse, grad_q, grad_k, grad_v, memory);
  const Sizes s(h.tokens, h.dim);
  const float scale = 1.0f / std::sqrt(static_cast<float>(h.dim));
  const int64_t most = s.deep < kSummed ? s.deep : kSummed;
  Pair* q = reinterpret_cast<Pair*>(memory);       // (deep, pairs)
  Pair* g = q + s.deep * s.pairs;                  // (deep, pairs), grad_out
  Pair* keys = g + s.deep * s.pairs;               // (pairs, across)
  Pair* values = keys + s.pairs * s.across;        // (pairs, across)
  Pair* k_pairs = values + s.pairs * s.across;     // (deep / 2, dim)
  Pair* q_columns = k_pairs + s.deep / 2 * h.dim;  // (dim, deep / 2)
  Pair* g_columns = q_columns + s.deep / 2 * h.dim;
  Pair* weight_pairs = g_columns + s.deep / 2 * h.dim;                            // (most / 2, across)
  Pair* score_pairs = weight_pairs + most / 2 * s.across;                         // (most / 2, across)
  Pair* score_rows = score_pairs + most / 2 * s.across;                           // (kQueries, deep / 2)
  float* weights = reinterpret_cast<float*>(score_rows + kQueries * s.deep / 2);  // (kQueries, deep)
  float* grad_scores = weights + kQueries * s.deep;
  float* result = grad_scores + kQueries * s.deep;  // (kQueries, dim)
  float* k_columns = result + kQueries * h.dim;     // (dim, across), the gradient of k
  float* v_columns = k_columns + h.dim * s.across;
  pack.pair_columns(h.k, h.stride, keys, s.across, h.tokens, h.dim);
  pack.pair_columns(h.v, h.stride, values, s.across, h.tokens, h.dim);
  pack_rows(h.q, h.stride, h.tokens, h.dim, q, s.pairs);
  pack_rows(grad_out, out_stride, h.tokens, h.dim, g, s.pairs);
  pack_pairs(h.k, h.stride, h.tokens, h.dim, k_pairs, s.deep);
  pack_columns(h.q, h.stride, h.tokens, h.dim, q_columns, s.deep);
  pack_columns(grad_out, out_stride, h.tokens, h.dim, g_columns, s.deep);
  const Tiles tiles;
  for (int64_t first = 0; first < h.tokens; first += most) {
    const int64_t end = first + most < h.tokens ? first + most : h.tokens;
    for (int64_t from = first; from < end; from += kQueries) {
      const int64_t n = end - from < kQueries ? end - from : kQueries, tall = pad(n, kSide);
      product(tall, s.across, s.pairs, {q + from * s.pairs, s.pairs}, {keys, s.across}, weights, s.deep, false);
      product(tall, s.across, s.pairs, {g + from * s.pairs, s.pairs}, {values, s.across}, grad_scores, s.deep, false);
      for (int64_t r = 0; r < n; r++) {
        const int64_t row = (from + r) * out_stride;
        float *w = weights + r * s.deep, *grad_s = grad_scores + r * s.deep;
        softmax_backward_row(w, grad_s, h.tokens, lse[from + r], scale, out + row, grad_out + row, h.dim);
        for (int64_t i = h.tokens; i < s.deep; i++) w[i] = grad_s[i] = 0;
      }
      const int64_t above = (from - first) / 2 * s.across;
      const auto pack_block = [&](const float* block, Pair* to) {
        pack.pair_rows(block, s.deep, to, s.across, s.across, n);
        const int64_t used = (n + 1) / 2;
        std::memset(to + used * s.across, 0, (kQueries / 2 - used) * s.across * sizeof(Pair));
      };
      pack_block(weights, weight_pairs + above);
      pack_block(grad_scores, score_pairs + above);
      pack_rows(grad_scores, s.deep, n, s.deep, score_rows, s.deep / 2);
      product(tall, h.dim, s.deep / 2, {score_rows, s.deep / 2}, {k_pairs, h.dim}, result, h.dim, false);
      for (int64_t r = 0; r < n; r++)
        std::memcpy(grad_q + (from + r) * h.stride, result + r * h.dim, h.dim * sizeof(float));
    }
    const int64_t summed = pad(end - first, kQueries) / 2;
    const bool adds = first > 0;
    product(h.dim, s.across, summed, {g_columns + first / 2, s.deep / 2}, {weight_pairs, s.across}, v_columns, s.across,
            adds);
    product(h.dim, s.across, summed, {q_columns + first / 2, s.deep / 2}, {score_pairs, s.across}, k_columns, s.across,
            adds);
  }
  pack.transpose(k_columns, s.across, 1, grad_k, h.stride, h.tokens, h.dim);
  pack.transpose(v_columns, s.across, 1, grad_v, h.stride, h.tokens, h.dim);
}

}  // namespace

extern const AttentionLoops attention_loops{scratch, forward, backward};

}  // namespace DINO_LEVEL
}  // namespace dino

#endif
