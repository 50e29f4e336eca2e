// The loops over pixels. Every *.simd.cc is compiled once for each level of vector instructions (scripts/build-native.mjs),
// each in a namespace of its own, and the best level that the machine has is chosen at run time (../vectors.h). Where a
// compiler's vectorized code is far slower than AVX2 allows, a loop has a version in intrinsics; `base` has none of them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../vectors.h"

namespace crops {

struct ColorLoops {
  // Sum of the lumas.
  uint64_t (*luma_sum)(const uint8_t* r, const uint8_t* g, const uint8_t* b, size_t count);
  // In place: blends every value with a constant, or with its pixel's luma; factor 1 changes nothing.
  void (*blend_constant)(uint8_t* values, size_t count, int constant, float factor);
  void (*blend_luma)(uint8_t* r, uint8_t* g, uint8_t* b, size_t count, float factor);
  void (*to_luma)(uint8_t* r, uint8_t* g, uint8_t* b, size_t count);
  // In place: inverts values from the threshold on.
  void (*invert_above)(uint8_t* values, size_t count, int threshold);
  // In place: shifts the hue by shift / 255 of a turn.
  void (*shift_hue)(uint8_t* r, uint8_t* g, uint8_t* b, size_t count, int shift);
  void (*interleave)(const uint8_t* r, const uint8_t* g, const uint8_t* b, size_t count, uint8_t* out);
};

struct BoxWeights {
  int radius;     // pixels on either side with full weight
  uint32_t full;  // 24 fraction bits
  uint32_t edge;  // weight of the pixels just beyond
};

struct BlurLoops {
  // out[i] from in[i - step * (radius + 1)] .. in[i + step * (radius + 1)]: along a padded line with step 1, or down the
  // rows with step = width.
  void (*run)(const uint8_t* in, ptrdiff_t step, const BoxWeights& box, int count, uint8_t* out);
};

constexpr int kPrecisionBits = 32 - 8 - 2;  // of a weight, as Pillow: 8 bits of result, 2 for overshoot
constexpr int kStepPixels = 32;             // that a pass processes at a time; every line is padded to whole steps

// What each output line of a pass is computed from.
struct Taps {
  int count;               // output lines
  int size;                // room for weights of each
  int first_line;          // the input line that `in` begins with
  const int32_t* bounds;   // (count, 2): first input line, number of lines
  const int32_t* weights;  // (count, size)
  int32_t* pairs;          // (size + 2) of scratch memory
};

struct ResampleLoops {
  // Output line i is the weighted sum of the input lines within its bounds,
  // out[x] = clip(sum over k of weights[k] * in[k][x]); lines have `length` pixels.
  void (*weigh_lines)(const uint8_t* in, size_t in_stride, int length, const Taps& taps, uint8_t* out,
                      size_t out_stride);
  // Splits the interleaved pixels of a row into three planes.
  void (*split_row)(const uint8_t* in, int channels, int count, uint8_t* r, uint8_t* g, uint8_t* b);
};

struct Loops {
  const ColorLoops& color;
  const BlurLoops& blur;
  const ResampleLoops& resample;
};

// The loops of the level vectors::chosen().
const Loops& loops();

}  // namespace crops
