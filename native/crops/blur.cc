// Pillow's GaussianBlur (BoxBlur.c): three passes of a box blur whose radius has a fractional part, along x, then
// three along y, each rounded to 8 bits. Bit-equal to Pillow.
//
// Pillow keeps a running sum along the line. Its sums are integers, so the same numbers come from adding up each
// window afresh, and then neighbouring pixels don't wait for each other: for the radii of training (standard
// deviation up to 2, box radius below 2) a window is three or five pixels, and that is far faster in vectors.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels.h"

namespace crops {
namespace {

struct BoxWeights {
  int radius;     // pixels on either side with full weight
  uint32_t full;  // 24 fraction bits
  uint32_t edge;  // weight of the pixels just beyond
};

/// _gaussian_blur_radius, in its mixture of float and double.
float boxRadius(float sigma, int passes) {
  const float sigma2 = sigma * sigma / static_cast<float>(passes);
  const float length = static_cast<float>(std::sqrt(12.0 * static_cast<double>(sigma2) + 1.0));
  const float whole = static_cast<float>(std::floor((static_cast<double>(length) - 1.0) / 2.0));
  float part = (2 * whole + 1) * (whole * (whole + 1) - 3 * sigma2);
  part /= 6 * (sigma2 - (whole + 1) * (whole + 1));
  return whole + part;
}

BoxWeights boxWeights(float radius) {
  const int whole = static_cast<int>(radius);
  const uint32_t full = static_cast<uint32_t>(static_cast<float>(1U << 24) / (radius * 2 + 1));
  const uint32_t edge = ((1U << 24) - (static_cast<uint32_t>(whole) * 2 + 1) * full) / 2;
  return {whole, full, edge};
}

/// out[i] from in[i - step * (radius + 1)] .. in[i + step * (radius + 1)]: along a padded line with step 1, or down
/// the rows with step = width.
CROPS_SIMD void blurRunPortable(const uint8_t *in, ptrdiff_t step, const BoxWeights &box, int count, uint8_t *out) {
  const uint32_t full = box.full, edge = box.edge;
  constexpr uint32_t half = 1U << 23;
  if (box.radius == 0) {
    for (int i = 0; i < count; i++) {
      const uint32_t far = static_cast<uint32_t>(in[i - step]) + in[i + step];
      out[i] = static_cast<uint8_t>((in[i] * full + far * edge + half) >> 24);
    }
  } else if (box.radius == 1) {
    for (int i = 0; i < count; i++) {
      const uint32_t near = static_cast<uint32_t>(in[i - step]) + in[i] + in[i + step];
      const uint32_t far = static_cast<uint32_t>(in[i - 2 * step]) + in[i + 2 * step];
      out[i] = static_cast<uint8_t>((near * full + far * edge + half) >> 24);
    }
  } else {
    constexpr int block = 256;
    uint32_t sum[block];
    const int radius = box.radius;
    for (int at = 0; at < count; at += block) {
      const int n = std::min(block, count - at);
      const uint8_t *line = in + at;
      for (int i = 0; i < n; i++) sum[i] = line[i];
      for (int d = 1; d <= radius; d++) {
        const uint8_t *left = line - d * step, *right = line + d * step;
        for (int i = 0; i < n; i++) sum[i] += static_cast<uint32_t>(left[i]) + right[i];
      }
      const uint8_t *left = line - (radius + 1) * step, *right = line + (radius + 1) * step;
      for (int i = 0; i < n; i++) {
        const uint32_t far = static_cast<uint32_t>(left[i]) + right[i];
        out[at + i] = static_cast<uint8_t>((sum[i] * full + far * edge + half) >> 24);
      }
    }
  }
}

#if defined(CROPS_X86)

CROPS_AVX2_INLINE __m256i sixteen(const uint8_t *at) {
  return _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i *>(at)));
}

/// Pairs of sums (near, far) times their weights, of which each is high * 2^12 + low.
CROPS_AVX2_INLINE __m256i weigh(__m256i sums, __m256i high, __m256i low) {
  const __m256i coarse = _mm256_slli_epi32(_mm256_madd_epi16(sums, high), 12);
  const __m256i fine = _mm256_add_epi32(_mm256_madd_epi16(sums, low), _mm256_set1_epi32(1 << 23));
  return _mm256_srli_epi32(_mm256_add_epi32(coarse, fine), 24);
}

/// Sixteen pixels at a time; returns how many it did. Window sums fit 16 bits; the multiply-add takes a pixel's two
/// sums at once, and a weight of 24 bits in two parts: exact, modulo 2^32.
CROPS_AVX2 int blurRunAvx2(const uint8_t *in, ptrdiff_t step, const BoxWeights &box, int count,
                                                uint8_t *out) {
  const __m256i high = _mm256_set1_epi32(static_cast<int>((box.edge >> 12 << 16) | box.full >> 12));
  const __m256i low = _mm256_set1_epi32(static_cast<int>(((box.edge & 0xfff) << 16) | (box.full & 0xfff)));
  int at = 0;
  for (; at + 16 <= count; at += 16) {
    const uint8_t *line = in + at;
    __m256i near = sixteen(line);
    for (ptrdiff_t d = step; d <= box.radius * step; d += step) {
      near = _mm256_add_epi16(near, _mm256_add_epi16(sixteen(line - d), sixteen(line + d)));
    }
    const ptrdiff_t beyond = (box.radius + 1) * step;
    const __m256i far = _mm256_add_epi16(sixteen(line - beyond), sixteen(line + beyond));
    const __m256i values = _mm256_packus_epi32(weigh(_mm256_unpacklo_epi16(near, far), high, low),
                                               weigh(_mm256_unpackhi_epi16(near, far), high, low));
    const __m256i bytes = _mm256_permute4x64_epi64(_mm256_packus_epi16(values, values), 0x08);
    _mm_storeu_si128(reinterpret_cast<__m128i *>(out + at), _mm256_castsi256_si128(bytes));
  }
  return at;
}

#endif

void blurRun(const uint8_t *in, ptrdiff_t step, const BoxWeights &box, int count, uint8_t *out) {
  int done = 0;
#if defined(CROPS_X86)
  constexpr int mostRadius = 63;  // a window of 127 pixels: its sum still is a signed 16-bit number
  if (hasAvx2() && box.radius <= mostRadius) done = blurRunAvx2(in, step, box, count, out);
#endif
  if (done < count) blurRunPortable(in + done, step, box, count - done, out + done);
}

}  // namespace

void gaussianBlur(uint8_t *planes, int width, int height, float sigma, Scratch &scratch) {
  constexpr int passes = 3;
  const BoxWeights box = boxWeights(boxRadius(sigma, passes));
  const size_t pad = static_cast<size_t>(box.radius) + 1;
  const size_t count = static_cast<size_t>(width) * height;

  // Lines are padded with copies of their end pixels, which is what Pillow's special cases at the ends amount to.
  const size_t paddedRow = width + 2 * pad;
  const size_t paddedPlane = (height + 2 * pad) * width;
  scratch.first.resize(std::max(scratch.first.size(), std::max(2 * paddedRow, paddedPlane) + 64));
  scratch.second.resize(std::max(scratch.second.size(), paddedPlane + 64));

  for (int c = 0; c < 3; c++) {
    uint8_t *plane = planes + c * count;
    for (int y = 0; y < height; y++) {
      uint8_t *row = plane + static_cast<size_t>(y) * width;
      uint8_t *from = scratch.first.data(), *to = from + paddedRow;
      std::memcpy(from + pad, row, width);
      for (int pass = 0; pass < passes; pass++) {
        std::memset(from, from[pad], pad);
        std::memset(from + pad + width, from[pad + width - 1], pad);
        blurRun(from + pad, 1, box, width, pass + 1 < passes ? to + pad : row);
        std::swap(from, to);
      }
    }
    uint8_t *from = scratch.first.data(), *to = scratch.second.data();
    std::memcpy(from + pad * width, plane, count);
    for (int pass = 0; pass < passes; pass++) {
      const uint8_t *top = from + pad * width, *bottom = top + count - width;
      for (size_t i = 0; i < pad; i++) {
        std::memcpy(from + i * width, top, width);
        std::memcpy(from + pad * width + count + i * width, bottom, width);
      }
      // rows follow each other without gaps, so the whole plane is one run
      blurRun(top, width, box, static_cast<int>(count), pass + 1 < passes ? to + pad * width : plane);
      std::swap(from, to);
    }
  }
}

}  // namespace crops
