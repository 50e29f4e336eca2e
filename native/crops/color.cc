// Pillow's point operations, as torchvision's PIL functions call them; the loops are in color.simd.cc. Bit-equal to Pillow.
#include <algorithm>
#include <cstring>

#include "kernels.h"
#include "loops.h"

namespace crops {
namespace {

inline int multiply_divide255(int a, int b) {
  const int t = a * b + 128;
  return ((t >> 8) + t) >> 8;
}

}  // namespace

void brightness(uint8_t* planes, size_t count, float factor) {
  loops().color.blend_constant(planes, 3 * count, 0, factor);
}

void contrast(uint8_t* planes, size_t count, float factor) {
  const double sum = static_cast<double>(loops().color.luma_sum(planes, planes + count, planes + 2 * count, count));
  const int mean = static_cast<int>(sum / static_cast<double>(count) + 0.5);
  loops().color.blend_constant(planes, 3 * count, mean, factor);
}

void saturation(uint8_t* planes, size_t count, float factor) {
  loops().color.blend_luma(planes, planes + count, planes + 2 * count, count, factor);
}

void hue(uint8_t* planes, size_t count, double factor) {
  // torchvision: np.int32(factor * 255).astype(np.uint8), that is truncated towards 0, then wrapped
  const int shift = static_cast<int>(factor * 255) & 255;
  loops().color.shift_hue(planes, planes + count, planes + 2 * count, count, shift);
}

void grayscale(uint8_t* planes, size_t count) {
  loops().color.to_luma(planes, planes + count, planes + 2 * count, count);
}

void solarize(uint8_t* planes, size_t count, int threshold) {
  loops().color.invert_above(planes, 3 * count, threshold);
}

void planes_to_rgb(const uint8_t* planes, size_t count, uint8_t* out) {
  loops().color.interleave(planes, planes + count, planes + 2 * count, count, out);
}

void interleave_rgb(const Source& source, uint8_t* out) {
  const size_t count = static_cast<size_t>(source.width) * source.height;
  const uint8_t* in = source.data;
  const int channels = source.channels;
  if (channels == 3) {
    std::memcpy(out, in, 3 * count);
  } else if (channels == 4) {
    for (size_t i = 0; i < count; i++) {
      out[3 * i] = in[4 * i];
      out[3 * i + 1] = in[4 * i + 1];
      out[3 * i + 2] = in[4 * i + 2];
    }
  } else {
    for (size_t i = 0; i < count; i++) out[3 * i] = out[3 * i + 1] = out[3 * i + 2] = in[channels * i];
  }
}

void cmyk_to_rgb(const uint8_t* cmyk, size_t count, uint8_t* out) {
  for (size_t i = 0; i < count; i++) {
    const int light = 255 - cmyk[4 * i + 3];
    for (int c = 0; c < 3; c++) {
      const int value = light - multiply_divide255(cmyk[4 * i + c], light);
      out[3 * i + c] = static_cast<uint8_t>(std::clamp(value, 0, 255));
    }
  }
}

}  // namespace crops
