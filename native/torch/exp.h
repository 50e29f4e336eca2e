// The exponential function that our loops share, which the compiler can vectorize.
#pragma once

#include <cstdint>
#include <cstring>

namespace dino::DINO_LEVEL {

// e^x for x <= 88, to 2 units in the last place; 0 below -87. (Cody and Waite's reduction, a polynomial on +-ln(2)/2.)
inline float fast_exp(float x) {
  x = x < -87.0f ? -87.0f : x;
  const float shifted = x * 1.44269504f + 12582912.0f;  // rounds to the nearest whole number
  const float n = shifted - 12582912.0f;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  int32_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (bits << 23) + (127 << 23);  // 2^n; the bits above the exponent are shifted out
  float scale;
  std::memcpy(&scale, &bits, sizeof scale);
  return p * scale;
}

}  // namespace dino::DINO_LEVEL
