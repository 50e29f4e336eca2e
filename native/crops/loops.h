// The loops over pixels. Every *.simd.cc is compiled once for each level of vector instructions
// (scripts/build-native.mjs), in a namespace of its own, and the machine's best is taken at run time (../vectors.h). Where
// compilers' own vectors are far from what AVX2 can do, a loop has a version in intrinsics; `base` is the code without.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../vectors.h"

namespace crops {

struct ColorLoops {
  // Sum of the lumas.
  uint64_t (*luma_sum)(const uint8_t* r, const uint8_t* g, const uint8_t* b, size_t count);
  // In place: every value blended with a constant, or with its pixel's luma; factor 1 changes nothing.
  void (*blend_constant)(uint8_t* values, size_t count, int constant, float factor);
  void (*blend_luma)(uint8_t* r, uint8_t* g, uint8_t* b, size_t count, float factor);
  void (*to_luma)(uint8_t* r, uint8_t* g, uint8_t* b, size_t count);
  // In place: 255 - value from the threshold on.
  void (*invert_above)(uint8_t* values, size_t count, int threshold);
  // In place: the hue moved by shift / 255 of a turn.
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
constexpr int kStepPixels = 32;             // that a pass works on at a time; every line has room for whole steps

// What each output line of a pass is made of.
struct Taps {
  int count;               // output lines
  int size;                // room for weights of each
  int first_line;          // the input line that `in` begins with
  const int32_t* bounds;   // (count, 2): first input line, number of lines
  const int32_t* weights;  // (count, size)
  int32_t* pairs;          // (size + 2) of scratch memory
};

struct ResampleLoops {
  // Output line i is weighed from the input lines that its bounds name,
  // out[x] = clip(sum over k of weights[k] * in[k][x]), each `length` pixels long.
  void (*weigh_lines)(const uint8_t* in, size_t in_stride, int length, const Taps& taps, uint8_t* out,
                      size_t out_stride);
  // Interleaved pixels of a row to three planes of it.
  void (*split_row)(const uint8_t* in, int channels, int count, uint8_t* r, uint8_t* g, uint8_t* b);
};

struct Loops {
  const ColorLoops& color;
  const BlurLoops& blur;
  const ResampleLoops& resample;
};

// Of the level that vectors::chosen() names.
const Loops& loops();

}  // namespace crops
