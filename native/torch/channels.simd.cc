// Loops over the channels of positions, for batch normalization (batch-norm.cc): matrices (rows, channels) without gaps.
#include <cstring>
#include <type_traits>

#include "loops.h"
#include "rounding.h"

namespace dino::DINO_LEVEL {
namespace {

inline float widen(float x) { return x; }
inline float widen(uint16_t x) {
  const uint32_t bits = static_cast<uint32_t>(x) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline void narrow(float x, float& out) { out = x; }
inline void narrow(float x, uint16_t& out) { out = static_cast<uint16_t>(rounded(x)); }

// Channels at a time, whose sums stay in registers.
constexpr int kLanes = 32;

// Calls fn(first channel, number of channels), where the number is kLanes but for the last.
template <typename Fn>
inline void each_block(int64_t channels, Fn fn) {
  int64_t from = 0;
  for (; from + kLanes <= channels; from += kLanes) fn(from, std::integral_constant<int, kLanes>());
  if (from < channels) fn(from, static_cast<int>(channels - from));
}

// Around the mean that a first sum gives, whose own error the second pass takes out: exact where the mean is large.
template <typename T>
void statistics(const T* x, int64_t rows, int64_t channels, float* mean, float* spread) {
  const float count = static_cast<float>(rows);
  each_block(channels, [&](int64_t from, auto n) {
    float sum[kLanes] = {}, squares[kLanes] = {}, rest[kLanes] = {}, middle[kLanes];
    for (int64_t r = 0; r < rows; r++) {
      const T* row = x + r * channels + from;
#pragma omp simd
      for (int c = 0; c < n; c++) sum[c] += widen(row[c]);
    }
    for (int c = 0; c < n; c++) middle[c] = sum[c] / count;
    for (int64_t r = 0; r < rows; r++) {
      const T* row = x + r * channels + from;
#pragma omp simd
      for (int c = 0; c < n; c++) {
        const float apart = widen(row[c]) - middle[c];
        rest[c] += apart;
        squares[c] += apart * apart;
      }
    }
    for (int c = 0; c < n; c++) {
      mean[from + c] = middle[c] + rest[c] / count;
      spread[from + c] = squares[c] - rest[c] * rest[c] / count;
    }
  });
}

template <typename T, bool kSkips, bool kRelu>
void apply_rows(const T* x, ChannelNorm norm, const T* skip, T* y, int64_t rows, int64_t channels) {
  each_block(channels, [&](int64_t from, auto n) {
    for (int64_t r = 0; r < rows; r++) {
      const int64_t at = r * channels + from;
#pragma omp simd
      for (int c = 0; c < n; c++) {
        float value = (widen(x[at + c]) - norm.mean[from + c]) * norm.scale[from + c] + norm.shift[from + c];
        if constexpr (kSkips) value += widen(skip[at + c]);
        narrow(kRelu && value < 0 ? 0 : value, y[at + c]);  // not a number stays one
      }
    }
  });
}

template <typename T>
void apply(const T* x, ChannelNorm norm, const T* skip, bool relu, T* y, int64_t rows, int64_t channels) {
  const auto run = skip == nullptr ? (relu ? apply_rows<T, false, true> : apply_rows<T, false, false>)
                                   : (relu ? apply_rows<T, true, true> : apply_rows<T, true, false>);
  run(x, norm, skip, y, rows, channels);
}

// The upstream gradient before ReLU, whose result is y.
template <bool kRelu, typename T>
inline float before_relu(const T* upstream, const T* y, int64_t at) {
  if constexpr (!kRelu) return widen(upstream[at]);
  return widen(y[at]) <= 0 ? 0 : widen(upstream[at]);
}

template <typename T, bool kRelu>
void sum_rows(const T* upstream, const T* y, const T* x, const float* mean, float* sum, float* product, int64_t rows,
              int64_t channels) {
  each_block(channels, [&](int64_t from, auto n) {
    float sums[kLanes] = {}, products[kLanes] = {};
    for (int64_t r = 0; r < rows; r++) {
      const int64_t at = r * channels + from;
#pragma omp simd
      for (int c = 0; c < n; c++) {
        const float g = before_relu<kRelu>(upstream, y, at + c);
        sums[c] += g;
        products[c] += g * (widen(x[at + c]) - mean[from + c]);
      }
    }
    for (int c = 0; c < n; c++) {
      sum[from + c] = sums[c];
      product[from + c] = products[c];
    }
  });
}

template <typename T>
void sums(const T* upstream, const T* y, const T* x, const float* mean, float* sum, float* product, int64_t rows,
          int64_t channels) {
  const auto run = y == nullptr ? sum_rows<T, false> : sum_rows<T, true>;
  run(upstream, y, x, mean, sum, product, rows, channels);
}

template <typename T, bool kSkips, bool kRelu>
void gradient_rows(const T* upstream, const T* y, const T* x, ChannelGradient of, T* gradient, T* skip, int64_t rows,
                   int64_t channels) {
  each_block(channels, [&](int64_t from, auto n) {
    for (int64_t r = 0; r < rows; r++) {
      const int64_t at = r * channels + from;
#pragma omp simd
      for (int c = 0; c < n; c++) {
        const float g = before_relu<kRelu>(upstream, y, at + c);
        const float centred = widen(x[at + c]) - of.mean[from + c];
        narrow((g - of.offset[from + c] - centred * of.slope[from + c]) * of.scale[from + c], gradient[at + c]);
        if constexpr (kSkips) narrow(g, skip[at + c]);
      }
    }
  });
}

template <typename T>
void gradient(const T* upstream, const T* y, const T* x, ChannelGradient of, T* gradient, T* skip, int64_t rows,
              int64_t channels) {
  const auto run = skip == nullptr ? (y == nullptr ? gradient_rows<T, false, false> : gradient_rows<T, false, true>)
                                   : (y == nullptr ? gradient_rows<T, true, false> : gradient_rows<T, true, true>);
  run(upstream, y, x, of, gradient, skip, rows, channels);
}

template <typename T>
constexpr ChannelLoops<T> loops = {statistics<T>, apply<T>, sums<T>, gradient<T>};

}  // namespace

extern const ChannelLoops<float> channel_loops_float32;
extern const ChannelLoops<uint16_t> channel_loops_bfloat16;
const ChannelLoops<float> channel_loops_float32 = loops<float>;
const ChannelLoops<uint16_t> channel_loops_bfloat16 = loops<uint16_t>;

}  // namespace dino::DINO_LEVEL
