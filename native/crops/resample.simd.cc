// A pass of Pillow's resize over whole lines (Resample.c): weighted sums of lines in fixed point. Bit-equal to Pillow.
#include "lanes.h"
#include "loops.h"

namespace crops::DINO_LEVEL {
namespace {

#if !defined(__AVX2__)

void weigh_lines(const uint8_t* in, size_t in_stride, int length, const Taps& taps, uint8_t* out, size_t out_stride) {
  for (int i = 0; i < taps.count; i++) {
    const uint8_t* lines = in + static_cast<size_t>(taps.bounds[2 * i] - taps.first_line) * in_stride;
    const int count = taps.bounds[2 * i + 1];
    const int32_t* weights = taps.weights + static_cast<size_t>(i) * taps.size;
    uint8_t* to = out + i * out_stride;
    for (int at = 0; at < length; at += kStepPixels) {
      int32_t sums[kStepPixels];
      for (int x = 0; x < kStepPixels; x++) sums[x] = 1 << (kPrecisionBits - 1);
      for (int k = 0; k < count; k++) {
        const uint8_t* line = lines + k * in_stride + at;
        const int32_t weight = weights[k];
        for (int x = 0; x < kStepPixels; x++) sums[x] += weight * line[x];
      }
      for (int x = 0; x < kStepPixels; x++) {
        to[at + x] = static_cast<uint8_t>(most(0, least(sums[x] >> kPrecisionBits, 255)));
      }
    }
  }
}

#else

// A weight of 24 bits is split in two parts that fit the 16-bit multiply-add, which takes two lines at a time:
// weight = high * 2^11 + low, 0 <= low < 2^11. The sums of the parts are combined at the end: exact, modulo 2^32.
constexpr int kLowBits = 11;

inline int32_t pair_of(int32_t first, int32_t second) {
  return static_cast<int32_t>((static_cast<uint32_t>(second) << 16) | (static_cast<uint32_t>(first) & 0xffff));
}

inline __m256i combine(__m256i high, __m256i low) {
  return _mm256_srai_epi32(_mm256_add_epi32(_mm256_slli_epi32(high, kLowBits), low), kPrecisionBits);
}

void weigh_lines(const uint8_t* in, size_t in_stride, int length, const Taps& taps, uint8_t* out, size_t out_stride) {
  const __m256i zero = _mm256_setzero_si256();
  const __m256i half = _mm256_set1_epi32(1 << (kPrecisionBits - 1));
  int32_t* pairs = taps.pairs;
  for (int i = 0; i < taps.count; i++) {
    const uint8_t* lines = in + static_cast<size_t>(taps.bounds[2 * i] - taps.first_line) * in_stride;
    const int count = taps.bounds[2 * i + 1];
    const int32_t* weights = taps.weights + static_cast<size_t>(i) * taps.size;
    const int pair_count = (count + 1) / 2;
    for (int k = 0; k < pair_count; k++) {
      const int32_t a = weights[2 * k];
      const int32_t b = 2 * k + 1 < count ? weights[2 * k + 1] : 0;
      pairs[2 * k] = pair_of(a >> kLowBits, b >> kLowBits);
      pairs[2 * k + 1] = pair_of(a & ((1 << kLowBits) - 1), b & ((1 << kLowBits) - 1));
    }
    uint8_t* to = out + i * out_stride;
    for (int at = 0; at < length; at += kStepPixels) {
      __m256i high0 = zero, high1 = zero, high2 = zero, high3 = zero;
      __m256i low0 = half, low1 = half, low2 = half, low3 = half;
      const uint8_t* line = lines + at;
      for (int k = 0; k < pair_count; k++, line += 2 * in_stride) {
        const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(line));
        // an odd last line is paired with itself, with weight 0
        const uint8_t* next = 2 * k + 1 < count ? line + in_stride : line;
        const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(next));
        const __m256i ab0 = _mm256_unpacklo_epi8(a, b), ab1 = _mm256_unpackhi_epi8(a, b);
        const __m256i p0 = _mm256_unpacklo_epi8(ab0, zero), p1 = _mm256_unpackhi_epi8(ab0, zero);
        const __m256i p2 = _mm256_unpacklo_epi8(ab1, zero), p3 = _mm256_unpackhi_epi8(ab1, zero);
        const __m256i weight_high = _mm256_set1_epi32(pairs[2 * k]);
        const __m256i weight_low = _mm256_set1_epi32(pairs[2 * k + 1]);
        high0 = _mm256_add_epi32(high0, _mm256_madd_epi16(p0, weight_high));
        high1 = _mm256_add_epi32(high1, _mm256_madd_epi16(p1, weight_high));
        high2 = _mm256_add_epi32(high2, _mm256_madd_epi16(p2, weight_high));
        high3 = _mm256_add_epi32(high3, _mm256_madd_epi16(p3, weight_high));
        low0 = _mm256_add_epi32(low0, _mm256_madd_epi16(p0, weight_low));
        low1 = _mm256_add_epi32(low1, _mm256_madd_epi16(p1, weight_low));
        low2 = _mm256_add_epi32(low2, _mm256_madd_epi16(p2, weight_low));
        low3 = _mm256_add_epi32(low3, _mm256_madd_epi16(p3, weight_low));
      }
      // packing saturates, which does the clipping; it also restores the order before unpacking
      const __m256i left = _mm256_packs_epi32(combine(high0, low0), combine(high1, low1));
      const __m256i right = _mm256_packs_epi32(combine(high2, low2), combine(high3, low3));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + at), _mm256_packus_epi16(left, right));
    }
  }
}

#endif

// See ResampleLoops.
void split_row(const uint8_t* in, int channels, int count, uint8_t* r, uint8_t* g, uint8_t* b) {
  if (channels == 3) {
    for (int i = 0; i < count; i++) {
      r[i] = in[3 * i];
      g[i] = in[3 * i + 1];
      b[i] = in[3 * i + 2];
    }
  } else if (channels == 4) {
    for (int i = 0; i < count; i++) {
      r[i] = in[4 * i];
      g[i] = in[4 * i + 1];
      b[i] = in[4 * i + 2];
    }
  } else {
    for (int i = 0; i < count; i++) r[i] = g[i] = b[i] = in[channels * i];
  }
}

}  // namespace

extern const ResampleLoops resample_loops{weigh_lines, split_row};

}  // namespace crops::DINO_LEVEL
