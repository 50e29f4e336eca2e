// Pillow's GaussianBlur (BoxBlur.c): three passes along x and then three along y of a box blur whose radius has a fractional
// part, each rounded to 8 bits. Bit-equal to Pillow.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels.h"
#include "loops.h"

namespace crops {
namespace {

// _gaussian_blur_radius, with the same mixture of float and double.
float box_radius(float sigma, int passes) {
  const float sigma2 = sigma * sigma / static_cast<float>(passes);
  const float length = static_cast<float>(std::sqrt(12.0 * static_cast<double>(sigma2) + 1.0));
  const float whole = static_cast<float>(std::floor((static_cast<double>(length) - 1.0) / 2.0));
  float part = (2 * whole + 1) * (whole * (whole + 1) - 3 * sigma2);
  part /= 6 * (sigma2 - (whole + 1) * (whole + 1));
  return whole + part;
}

BoxWeights box_weights(float radius) {
  const int whole = static_cast<int>(radius);
  const uint32_t full = static_cast<uint32_t>(static_cast<float>(1U << 24) / (radius * 2 + 1));
  const uint32_t edge = ((1U << 24) - (static_cast<uint32_t>(whole) * 2 + 1) * full) / 2;
  return {whole, full, edge};
}

}  // namespace

void gaussian_blur(uint8_t* planes, int width, int height, float sigma, Scratch& scratch) {
  constexpr int kPasses = 3;
  const BoxWeights box = box_weights(box_radius(sigma, kPasses));
  const size_t pad = static_cast<size_t>(box.radius) + 1;
  const size_t count = static_cast<size_t>(width) * height;

  // Lines are padded with copies of their first and last pixels: Pillow's special cases at the ends have the same effect.
  const size_t padded_row = width + 2 * pad;
  const size_t padded_plane = (height + 2 * pad) * width;
  scratch.first.resize(std::max(scratch.first.size(), std::max(2 * padded_row, padded_plane) + 64));
  scratch.second.resize(std::max(scratch.second.size(), padded_plane + 64));

  for (int c = 0; c < 3; c++) {
    uint8_t* plane = planes + c * count;
    for (int y = 0; y < height; y++) {
      uint8_t* row = plane + static_cast<size_t>(y) * width;
      uint8_t *from = scratch.first.data(), *to = from + padded_row;
      std::memcpy(from + pad, row, width);
      for (int pass = 0; pass < kPasses; pass++) {
        std::memset(from, from[pad], pad);
        std::memset(from + pad + width, from[pad + width - 1], pad);
        loops().blur.run(from + pad, 1, box, width, pass + 1 < kPasses ? to + pad : row);
        std::swap(from, to);
      }
    }
    uint8_t *from = scratch.first.data(), *to = scratch.second.data();
    std::memcpy(from + pad * width, plane, count);
    for (int pass = 0; pass < kPasses; pass++) {
      const uint8_t *top = from + pad * width, *bottom = top + count - width;
      for (size_t i = 0; i < pad; i++) {
        std::memcpy(from + i * width, top, width);
        std::memcpy(from + pad * width + count + i * width, bottom, width);
      }
      // there are no gaps between rows, so the whole plane is one run
      loops().blur.run(top, width, box, static_cast<int>(count), pass + 1 < kPasses ? to + pad * width : plane);
      std::swap(from, to);
    }
  }
}

}  // namespace crops
