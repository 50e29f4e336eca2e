// Pillow's two-pass resize (Resample.c, 8 bits a channel): coefficients in fixed point with 22 fraction bits, one
// direction after the other, each rounded to 8 bits. Bit-equal to Pillow 13.
//
// The arrangement is another one. A pass is fast when neighbouring outputs share their coefficients, so that a
// vector of pixels is multiplied by one number. That is so for the vertical pass on row-major planes, and for the
// horizontal pass on column-major planes. So: the source is brought once, for all of its crops, into planes stored
// both ways round; the first pass runs along the one or the other; its (small) result is transposed for the second.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels.h"

namespace crops {
namespace {

constexpr int precisionBits = 32 - 8 - 2;  // as Pillow: 8 bits of result, 2 for overshoot

using Bytes16 = uint8_t __attribute__((vector_size(16)));

#if defined(__clang__)
#define CROPS_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define CROPS_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, Bytes16{__VA_ARGS__})
#endif

inline Bytes16 lowHalves(Bytes16 a, Bytes16 b) {
  return CROPS_SHUFFLE(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
inline Bytes16 highHalves(Bytes16 a, Bytes16 b) {
  return CROPS_SHUFFLE(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

/// Transposes a 16 x 16 block: four rounds of interleaving row i with row i + 8.
inline void transpose16(const uint8_t *in, size_t inStride, uint8_t *out, size_t outStride) {
  Bytes16 a[16], b[16];
  for (int i = 0; i < 16; i++) std::memcpy(&a[i], in + i * inStride, 16);
  for (int round = 0; round < 2; round++) {
    for (int i = 0; i < 8; i++) {
      b[2 * i] = lowHalves(a[i], a[i + 8]);
      b[2 * i + 1] = highHalves(a[i], a[i + 8]);
    }
    for (int i = 0; i < 8; i++) {
      a[2 * i] = lowHalves(b[i], b[i + 8]);
      a[2 * i + 1] = highHalves(b[i], b[i + 8]);
    }
  }
  for (int i = 0; i < 16; i++) std::memcpy(out + i * outStride, &a[i], 16);
}

/// out[x][y] = in[y][x]. Both strides are multiples of 16 and both buffers hold whole 16 x 16 blocks.
void transpose(const uint8_t *in, size_t inStride, int rows, int columns, uint8_t *out, size_t outStride) {
  for (int y = 0; y < rows; y += 16) {
    for (int x = 0; x < columns; x += 16) {
      transpose16(in + y * inStride + x, inStride, out + x * outStride + y, outStride);
    }
  }
}

size_t roundUp(size_t value, size_t to) { return (value + to - 1) / to * to; }

double bilinearFilter(double x) {
  x = std::fabs(x);
  return x < 1.0 ? 1.0 - x : 0.0;
}

double bicubicFilter(double x) {
  constexpr double a = -0.5;
  x = std::fabs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

double sinc(double x) {
  if (x == 0.0) return 1.0;
  x *= M_PI;
  return std::sin(x) / x;
}

double lanczosFilter(double x) { return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0; }

double supportOf(Filter filter) {
  return filter == Filter::lanczos ? 3.0 : filter == Filter::bicubic ? 2.0 : 1.0;
}

double weightOf(Filter filter, double x) {
  if (filter == Filter::lanczos) return lanczosFilter(x);
  return filter == Filter::bicubic ? bicubicFilter(x) : bilinearFilter(x);
}

/// What one direction's pass needs. Without a pass (`count` 0) lines are copied.
struct Coefficients {
  int count = 0;                // output lines
  int size = 0;                 // room for weights of each
  std::vector<int32_t> bounds;  // first input line and number of lines, for each
  std::vector<int32_t> weights;
  // input lines that are used at all
  int firstLine = 0;
  int lines = 0;
};

/// Coefficients of the outputs [first, first + count) of `outSize`, in the exact arithmetic of precompute_coeffs.
void computeCoefficients(int inSize, float in0, float in1, int outSize, int first, int count, Filter filter,
                         Coefficients &result) {
  // A pass that would change nothing is left out, as in Pillow (its weights would be exactly 0 and 1).
  if (outSize == inSize && in0 == 0 && in1 == static_cast<float>(inSize)) {
    result.count = 0;
    result.firstLine = first;
    result.lines = count;
    return;
  }
  const double scale = static_cast<double>(in1 - in0) / outSize;
  const double filterScale = std::max(scale, 1.0);
  const double support = supportOf(filter) * filterScale;
  const double inverse = 1.0 / filterScale;
  const int size = static_cast<int>(std::ceil(support)) * 2 + 1;
  result.count = count;
  result.size = size;
  result.bounds.resize(static_cast<size_t>(count) * 2);
  result.weights.assign(static_cast<size_t>(count) * size, 0);
  std::vector<double> weights(size);
  for (int i = 0; i < count; i++) {
    const double center = in0 + (first + i + 0.5) * scale;
    const int begin = std::max(static_cast<int>(center - support + 0.5), 0);
    const int end = std::min(static_cast<int>(center + support + 0.5), inSize);
    const int taps = end - begin;
    double sum = 0.0;
    for (int k = 0; k < taps; k++) {
      const double x = (k + begin - center + 0.5) * inverse;
      weights[k] = weightOf(filter, x);
      sum += weights[k];
    }
    for (int k = 0; k < taps; k++) {
      const double weight = (sum != 0.0 ? weights[k] / sum : weights[k]) * (1 << precisionBits);
      result.weights[static_cast<size_t>(i) * size + k] =
          static_cast<int32_t>(weight < 0 ? weight - 0.5 : weight + 0.5);
    }
    result.bounds[2 * i] = begin;
    result.bounds[2 * i + 1] = taps;
  }
  result.firstLine = result.bounds[0];
  result.lines = result.bounds[2 * count - 2] + result.bounds[2 * count - 1] - result.firstLine;
}

/// Pixels that a step of a pass works on; every line here has room for whole steps.
constexpr int stepPixels = 32;

/// A pass: output line i is weighed from the input lines that its bounds name,
/// out[x] = clip(sum over k of weights[k] * in[k][x]), each `length` pixels long.
void weighLinesPortable(const uint8_t *in, size_t inStride, int length, const Coefficients &coefficients, uint8_t *out,
                        size_t outStride) {
  for (int i = 0; i < coefficients.count; i++) {
    const uint8_t *lines = in + static_cast<size_t>(coefficients.bounds[2 * i] - coefficients.firstLine) * inStride;
    const int taps = coefficients.bounds[2 * i + 1];
    const int32_t *weights = coefficients.weights.data() + static_cast<size_t>(i) * coefficients.size;
    uint8_t *to = out + i * outStride;
    for (int at = 0; at < length; at += stepPixels) {
      int32_t sums[stepPixels];
      for (int x = 0; x < stepPixels; x++) sums[x] = 1 << (precisionBits - 1);
      for (int k = 0; k < taps; k++) {
        const uint8_t *line = lines + k * inStride + at;
        const int32_t weight = weights[k];
        for (int x = 0; x < stepPixels; x++) sums[x] += weight * line[x];
      }
      for (int x = 0; x < stepPixels; x++) {
        to[at + x] = static_cast<uint8_t>(std::clamp(sums[x] >> precisionBits, 0, 255));
      }
    }
  }
}

#if defined(CROPS_X86)

// A weight of 24 bits in two parts that fit the 16-bit multiply-add, which takes two lines at a time:
// weight = high * 2^11 + low, 0 <= low < 2^11. The parts' sums are put together at the end: exact, modulo 2^32.
constexpr int lowBits = 11;

inline int32_t pairOf(int32_t first, int32_t second) {
  return static_cast<int32_t>((static_cast<uint32_t>(second) << 16) | (static_cast<uint32_t>(first) & 0xffff));
}

CROPS_AVX2_INLINE __m256i together(__m256i high, __m256i low) {
  return _mm256_srai_epi32(_mm256_add_epi32(_mm256_slli_epi32(high, lowBits), low), precisionBits);
}

CROPS_AVX2 void weighLinesAvx2(const uint8_t *in, size_t inStride, int length,
                                                    const Coefficients &coefficients, uint8_t *out, size_t outStride) {
  const __m256i zero = _mm256_setzero_si256();
  const __m256i half = _mm256_set1_epi32(1 << (precisionBits - 1));
  std::vector<int32_t> pairs(2 * (static_cast<size_t>(coefficients.size) / 2 + 1));
  for (int i = 0; i < coefficients.count; i++) {
    const uint8_t *lines = in + static_cast<size_t>(coefficients.bounds[2 * i] - coefficients.firstLine) * inStride;
    const int taps = coefficients.bounds[2 * i + 1];
    const int32_t *weights = coefficients.weights.data() + static_cast<size_t>(i) * coefficients.size;
    const int pairCount = (taps + 1) / 2;
    for (int k = 0; k < pairCount; k++) {
      const int32_t a = weights[2 * k];
      const int32_t b = 2 * k + 1 < taps ? weights[2 * k + 1] : 0;
      pairs[2 * k] = pairOf(a >> lowBits, b >> lowBits);
      pairs[2 * k + 1] = pairOf(a & ((1 << lowBits) - 1), b & ((1 << lowBits) - 1));
    }
    uint8_t *to = out + i * outStride;
    for (int at = 0; at < length; at += stepPixels) {
      __m256i high0 = zero, high1 = zero, high2 = zero, high3 = zero;
      __m256i low0 = half, low1 = half, low2 = half, low3 = half;
      const uint8_t *line = lines + at;
      for (int k = 0; k < pairCount; k++, line += 2 * inStride) {
        const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(line));
        // an odd last line is paired with itself, at weight 0
        const uint8_t *next = 2 * k + 1 < taps ? line + inStride : line;
        const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(next));
        const __m256i ab0 = _mm256_unpacklo_epi8(a, b), ab1 = _mm256_unpackhi_epi8(a, b);
        const __m256i p0 = _mm256_unpacklo_epi8(ab0, zero), p1 = _mm256_unpackhi_epi8(ab0, zero);
        const __m256i p2 = _mm256_unpacklo_epi8(ab1, zero), p3 = _mm256_unpackhi_epi8(ab1, zero);
        const __m256i weightHigh = _mm256_set1_epi32(pairs[2 * k]);
        const __m256i weightLow = _mm256_set1_epi32(pairs[2 * k + 1]);
        high0 = _mm256_add_epi32(high0, _mm256_madd_epi16(p0, weightHigh));
        high1 = _mm256_add_epi32(high1, _mm256_madd_epi16(p1, weightHigh));
        high2 = _mm256_add_epi32(high2, _mm256_madd_epi16(p2, weightHigh));
        high3 = _mm256_add_epi32(high3, _mm256_madd_epi16(p3, weightHigh));
        low0 = _mm256_add_epi32(low0, _mm256_madd_epi16(p0, weightLow));
        low1 = _mm256_add_epi32(low1, _mm256_madd_epi16(p1, weightLow));
        low2 = _mm256_add_epi32(low2, _mm256_madd_epi16(p2, weightLow));
        low3 = _mm256_add_epi32(low3, _mm256_madd_epi16(p3, weightLow));
      }
      // packing saturates, which is the clipping; it also undoes the order that unpacking made
      const __m256i left = _mm256_packs_epi32(together(high0, low0), together(high1, low1));
      const __m256i right = _mm256_packs_epi32(together(high2, low2), together(high3, low3));
      _mm256_storeu_si256(reinterpret_cast<__m256i *>(to + at), _mm256_packus_epi16(left, right));
    }
  }
}

#endif

void weighLines(const uint8_t *in, size_t inStride, int length, const Coefficients &coefficients, uint8_t *out,
                size_t outStride) {
#if defined(CROPS_X86)
  if (hasAvx2()) return weighLinesAvx2(in, inStride, length, coefficients, out, outStride);
#endif
  weighLinesPortable(in, inStride, length, coefficients, out, outStride);
}

/// The lines as they are, for a direction that keeps its size.
void copyLines(const uint8_t *in, size_t inStride, int length, int count, uint8_t *out, size_t outStride) {
  for (int i = 0; i < count; i++) std::memcpy(out + i * outStride, in + i * inStride, length);
}

/// Interleaved pixels of a row to three planes of it.
CROPS_SIMD void splitRow(const uint8_t *in, int channels, int count, uint8_t *r, uint8_t *g, uint8_t *b) {
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

/// One pass over lines of `length` pixels, of which the first is the coefficients' firstLine.
void pass(const uint8_t *in, size_t inStride, int length, const Coefficients &coefficients, int outLines,
          std::vector<uint8_t> &out, size_t outStride) {
  out.resize(std::max(out.size(), outStride * roundUp(outLines, 16) + 64));
  if (coefficients.count == 0) {
    copyLines(in, inStride, length, outLines, out.data(), outStride);
  } else {
    weighLines(in, inStride, length, coefficients, out.data(), outStride);
  }
}

void turn(const std::vector<uint8_t> &in, size_t inStride, int rows, int columns, std::vector<uint8_t> &out,
          size_t outStride) {
  out.resize(std::max(out.size(), outStride * roundUp(columns, 16) + 64));
  transpose(in.data(), inStride, rows, columns, out.data(), outStride);
}

}  // namespace

void loadPlanes(const Source &source, const View &part, Scratch &scratch) {
  scratch.loaded = part;
  const size_t rowStride = scratch.rowStride = roundUp(part.width, 16);
  const size_t columnStride = scratch.columnStride = roundUp(part.height, 16);
  const size_t plane = rowStride * columnStride;
  scratch.rows.resize(3 * plane + 64);
  scratch.columns.resize(3 * plane + 64);
  uint8_t *rows = scratch.rows.data();
  for (int y = 0; y < part.height; y++) {
    const size_t pixel = static_cast<size_t>(part.y + y) * source.width + part.x;
    uint8_t *row = rows + y * rowStride;
    splitRow(source.data + pixel * source.channels, source.channels, part.width, row, row + plane, row + 2 * plane);
  }
  for (int c = 0; c < 3; c++) {
    transpose(rows + c * plane, rowStride, part.height, part.width, scratch.columns.data() + c * plane, columnStride);
  }
}

void resample(Scratch &scratch, const View &view, const Box &box, int outWidth, int outHeight, const Window &window,
              Filter filter, bool flip, uint8_t *out) {
  Coefficients x, y;
  computeCoefficients(view.width, box.x0, box.x1, outWidth, window.x, window.width, filter, x);
  computeCoefficients(view.height, box.y0, box.y1, outHeight, window.y, window.height, filter, y);

  // Which direction comes first shows in the last bit. Up to version 12 Pillow always began with the horizontal one;
  // version 13 begins with the vertical one when it takes away more than twice as many lines as the other.
  const bool verticalFirst = view.height > outHeight && view.height - outHeight > 2 * (view.width - outWidth);

  const size_t plane = scratch.rowStride * scratch.columnStride;
  const size_t left = view.x - scratch.loaded.x + x.firstLine;  // of the source pixels that count
  const size_t top = view.y - scratch.loaded.y + y.firstLine;
  const size_t wide = roundUp(window.width, 32), high = roundUp(window.height, 32);
  const size_t wideIn = roundUp(x.lines, 32), highIn = roundUp(y.lines, 32);

  for (int c = 0; c < 3; c++) {
    if (verticalFirst) {
      const uint8_t *rows = scratch.rows.data() + c * plane + top * scratch.rowStride + left;
      pass(rows, scratch.rowStride, x.lines, y, window.height, scratch.first, wideIn);    // (height, wide in)
      turn(scratch.first, wideIn, window.height, x.lines, scratch.turned, high);          // (wide in, height)
      pass(scratch.turned.data(), high, window.height, x, window.width, scratch.first, high);  // (width, height)
      turn(scratch.first, high, window.width, window.height, scratch.second, wide);       // (height, width)
    } else {
      const uint8_t *columns = scratch.columns.data() + c * plane + left * scratch.columnStride + top;
      pass(columns, scratch.columnStride, y.lines, x, window.width, scratch.first, highIn);  // (width, high in)
      turn(scratch.first, highIn, window.width, y.lines, scratch.turned, wide);           // (high in, width)
      pass(scratch.turned.data(), wide, window.width, y, window.height, scratch.second, wide);  // (height, width)
    }
    uint8_t *to = out + static_cast<size_t>(c) * window.width * window.height;
    for (int i = 0; i < window.height; i++, to += window.width) {
      const uint8_t *row = scratch.second.data() + i * wide;
      if (flip) {
        std::reverse_copy(row, row + window.width, to);
      } else {
        std::memcpy(to, row, window.width);
      }
    }
  }
}

}  // namespace crops
