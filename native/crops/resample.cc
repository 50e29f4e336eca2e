// Pillow's two-pass resize (Resample.c, 8 bits a channel): coefficients in fixed point with 22 fraction bits, one
// direction after the other, each rounded to 8 bits. Bit-equal to Pillow 13.
//
// The arrangement differs from Pillow's. A pass is fast when neighbouring outputs share their coefficients, so that a vector
// of pixels is multiplied by one number. That holds for the vertical pass on row-major planes, and for the horizontal pass on
// column-major planes. Therefore the source is loaded once, for all of its crops, into planes in both orders; the first pass
// uses one of them, and its (small) result is transposed for the second pass.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels.h"
#include "loops.h"

namespace crops {
namespace {

using Bytes16 = uint8_t __attribute__((vector_size(16)));

#if defined(__clang__)
#define CROPS_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define CROPS_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, Bytes16{__VA_ARGS__})
#endif

inline Bytes16 low_halves(Bytes16 a, Bytes16 b) {
  return CROPS_SHUFFLE(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
inline Bytes16 high_halves(Bytes16 a, Bytes16 b) {
  return CROPS_SHUFFLE(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

// Transposes a 16 x 16 block: four rounds of interleaving row i with row i + 8.
inline void transpose16(const uint8_t* in, size_t in_stride, uint8_t* out, size_t out_stride) {
  Bytes16 a[16], b[16];
  for (int i = 0; i < 16; i++) std::memcpy(&a[i], in + i * in_stride, 16);
  for (int round = 0; round < 2; round++) {
    for (int i = 0; i < 8; i++) {
      b[2 * i] = low_halves(a[i], a[i + 8]);
      b[2 * i + 1] = high_halves(a[i], a[i + 8]);
    }
    for (int i = 0; i < 8; i++) {
      a[2 * i] = low_halves(b[i], b[i + 8]);
      a[2 * i + 1] = high_halves(b[i], b[i + 8]);
    }
  }
  for (int i = 0; i < 16; i++) std::memcpy(out + i * out_stride, &a[i], 16);
}

// out[x][y] = in[y][x]. Both strides are multiples of 16 and both buffers hold whole 16 x 16 blocks.
void transpose(const uint8_t* in, size_t in_stride, int rows, int columns, uint8_t* out, size_t out_stride) {
  for (int y = 0; y < rows; y += 16) {
    for (int x = 0; x < columns; x += 16) {
      transpose16(in + y * in_stride + x, in_stride, out + x * out_stride + y, out_stride);
    }
  }
}

size_t round_up(size_t value, size_t to) { return (value + to - 1) / to * to; }

double bilinear_filter(double x) {
  x = std::fabs(x);
  return x < 1.0 ? 1.0 - x : 0.0;
}

double bicubic_filter(double x) {
  constexpr double kA = -0.5;
  x = std::fabs(x);
  if (x < 1.0) return ((kA + 2.0) * x - (kA + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * kA;
  return 0.0;
}

double sinc(double x) {
  if (x == 0.0) return 1.0;
  x *= M_PI;
  return std::sin(x) / x;
}

double lanczos_filter(double x) { return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0; }

}  // namespace

double support_of(Filter filter) { return filter == Filter::kLanczos ? 3.0 : filter == Filter::kBicubic ? 2.0 : 1.0; }

double weight_of(Filter filter, double x) {
  if (filter == Filter::kLanczos) return lanczos_filter(x);
  return filter == Filter::kBicubic ? bicubic_filter(x) : bilinear_filter(x);
}

namespace {

// What the pass in one direction needs. If `count` is 0 there is no pass, and lines are copied.
struct Coefficients {
  int count = 0;                // output lines
  int size = 0;                 // room for weights of each
  std::vector<int32_t> bounds;  // first input line and number of lines, for each
  std::vector<int32_t> weights;
  // input lines that are used at all
  int first_line = 0;
  int lines = 0;
};

// Coefficients of the outputs [first, first + count) of `out_size`, in the exact arithmetic of precompute_coeffs.
void compute_coefficients(int in_size, float in0, float in1, int out_size, int first, int count, Filter filter,
                          Coefficients& result) {
  // a pass that would change nothing is left out, as in Pillow (its weights would be exactly 0 and 1)
  if (out_size == in_size && in0 == 0 && in1 == static_cast<float>(in_size)) {
    result.count = 0;
    result.first_line = first;
    result.lines = count;
    return;
  }
  const double scale = static_cast<double>(in1 - in0) / out_size;
  const double filter_scale = std::max(scale, 1.0);
  const double support = support_of(filter) * filter_scale;
  const double inverse = 1.0 / filter_scale;
  const int size = static_cast<int>(std::ceil(support)) * 2 + 1;
  result.count = count;
  result.size = size;
  result.bounds.resize(static_cast<size_t>(count) * 2);
  result.weights.assign(static_cast<size_t>(count) * size, 0);
  std::vector<double> weights(size);
  for (int i = 0; i < count; i++) {
    const double center = in0 + (first + i + 0.5) * scale;
    const int begin = std::max(static_cast<int>(center - support + 0.5), 0);
    const int end = std::min(static_cast<int>(center + support + 0.5), in_size);
    const int taps = end - begin;
    double sum = 0.0;
    for (int k = 0; k < taps; k++) {
      const double x = (k + begin - center + 0.5) * inverse;
      weights[k] = weight_of(filter, x);
      sum += weights[k];
    }
    for (int k = 0; k < taps; k++) {
      const double weight = (sum != 0.0 ? weights[k] / sum : weights[k]) * (1 << kPrecisionBits);
      result.weights[static_cast<size_t>(i) * size + k] =
          static_cast<int32_t>(weight < 0 ? weight - 0.5 : weight + 0.5);
    }
    result.bounds[2 * i] = begin;
    result.bounds[2 * i + 1] = taps;
  }
  result.first_line = result.bounds[0];
  result.lines = result.bounds[2 * count - 2] + result.bounds[2 * count - 1] - result.first_line;
}

// Copies lines, for a direction in which the size stays the same.
void copy_lines(const uint8_t* in, size_t in_stride, int length, int count, uint8_t* out, size_t out_stride) {
  for (int i = 0; i < count; i++) std::memcpy(out + i * out_stride, in + i * in_stride, length);
}

// One pass over lines of `length` pixels; the first line of `in` is the coefficients' first_line.
void pass(const uint8_t* in, size_t in_stride, int length, const Coefficients& coefficients, int out_lines,
          std::vector<uint8_t>& out, size_t out_stride) {
  out.resize(std::max(out.size(), out_stride * round_up(out_lines, 16) + 64));
  if (coefficients.count == 0) {
    copy_lines(in, in_stride, length, out_lines, out.data(), out_stride);
  } else {
    std::vector<int32_t> pairs(static_cast<size_t>(coefficients.size) + 2);
    const Taps taps{coefficients.count,         coefficients.size,           coefficients.first_line,
                    coefficients.bounds.data(), coefficients.weights.data(), pairs.data()};
    loops().resample.weigh_lines(in, in_stride, length, taps, out.data(), out_stride);
  }
}

void turn(const std::vector<uint8_t>& in, size_t in_stride, int rows, int columns, std::vector<uint8_t>& out,
          size_t out_stride) {
  out.resize(std::max(out.size(), out_stride * round_up(columns, 16) + 64));
  transpose(in.data(), in_stride, rows, columns, out.data(), out_stride);
}

}  // namespace

void load_planes(const Source& source, const View& part, Scratch& scratch) {
  scratch.loaded = part;
  const size_t row_stride = scratch.row_stride = round_up(part.width, 16);
  const size_t column_stride = scratch.column_stride = round_up(part.height, 16);
  const size_t plane = row_stride * column_stride;
  scratch.rows.resize(3 * plane + 64);
  scratch.columns.resize(3 * plane + 64);
  uint8_t* rows = scratch.rows.data();
  for (int y = 0; y < part.height; y++) {
    const size_t pixel = static_cast<size_t>(part.y + y) * source.width + part.x;
    uint8_t* row = rows + y * row_stride;
    loops().resample.split_row(source.data + pixel * source.channels, source.channels, part.width, row, row + plane,
                               row + 2 * plane);
  }
  for (int c = 0; c < 3; c++) {
    transpose(rows + c * plane, row_stride, part.height, part.width, scratch.columns.data() + c * plane, column_stride);
  }
}

void resample(Scratch& scratch, const View& view, const Box& box, int out_width, int out_height, const Window& window,
              Filter filter, bool flip, uint8_t* out) {
  Coefficients x, y;
  compute_coefficients(view.width, box.x0, box.x1, out_width, window.x, window.width, filter, x);
  compute_coefficients(view.height, box.y0, box.y1, out_height, window.y, window.height, filter, y);

  // Which direction comes first affects the last bit. Up to version 12, Pillow always began with the horizontal one; version
  // 13 begins with the vertical one when it removes more than twice as many lines as the other.
  const bool vertical_first = view.height > out_height && view.height - out_height > 2 * (view.width - out_width);

  const size_t plane = scratch.row_stride * scratch.column_stride;
  const size_t left = view.x - scratch.loaded.x + x.first_line;  // of the source pixels that are used
  const size_t top = view.y - scratch.loaded.y + y.first_line;
  const size_t wide = round_up(window.width, 32), high = round_up(window.height, 32);
  const size_t wide_in = round_up(x.lines, 32), high_in = round_up(y.lines, 32);

  for (int c = 0; c < 3; c++) {
    if (vertical_first) {
      const uint8_t* rows = scratch.rows.data() + c * plane + top * scratch.row_stride + left;
      pass(rows, scratch.row_stride, x.lines, y, window.height, scratch.first, wide_in);       // (height, wide in)
      turn(scratch.first, wide_in, window.height, x.lines, scratch.turned, high);              // (wide in, height)
      pass(scratch.turned.data(), high, window.height, x, window.width, scratch.first, high);  // (width, height)
      turn(scratch.first, high, window.width, window.height, scratch.second, wide);            // (height, width)
    } else {
      const uint8_t* columns = scratch.columns.data() + c * plane + left * scratch.column_stride + top;
      pass(columns, scratch.column_stride, y.lines, x, window.width, scratch.first, high_in);   // (width, high in)
      turn(scratch.first, high_in, window.width, y.lines, scratch.turned, wide);                // (high in, width)
      pass(scratch.turned.data(), wide, window.width, y, window.height, scratch.second, wide);  // (height, width)
    }
    uint8_t* to = out + static_cast<size_t>(c) * window.width * window.height;
    for (int i = 0; i < window.height; i++, to += window.width) {
      const uint8_t* row = scratch.second.data() + i * wide;
      if (flip) {
        std::reverse_copy(row, row + window.width, to);
      } else {
        std::memcpy(to, row, window.width);
      }
    }
  }
}

}  // namespace crops
