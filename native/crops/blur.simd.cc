// One pass of a box blur along a run of bytes. Bit-equal to Pillow (BoxBlur.c).
//
// Pillow keeps a running sum along the line. The sums are integers, so adding up each window separately gives the same
// numbers, and then pixels don't depend on their neighbours: for the radii of training (standard deviation up to 2, box
// radius below 2) a window has three or five pixels, and vectors make that far faster.
#include "lanes.h"
#include "loops.h"

namespace crops::DINO_LEVEL {
namespace {

// See BlurLoops.
void blur_run_portable(const uint8_t* in, ptrdiff_t step, const BoxWeights& box, int count, uint8_t* out) {
  const uint32_t full = box.full, edge = box.edge;
  constexpr uint32_t kHalf = 1U << 23;
  if (box.radius == 0) {
    for (int i = 0; i < count; i++) {
      const uint32_t far = static_cast<uint32_t>(in[i - step]) + in[i + step];
      out[i] = static_cast<uint8_t>((in[i] * full + far * edge + kHalf) >> 24);
    }
  } else if (box.radius == 1) {
    for (int i = 0; i < count; i++) {
      const uint32_t near = static_cast<uint32_t>(in[i - step]) + in[i] + in[i + step];
      const uint32_t far = static_cast<uint32_t>(in[i - 2 * step]) + in[i + 2 * step];
      out[i] = static_cast<uint8_t>((near * full + far * edge + kHalf) >> 24);
    }
  } else {
    constexpr int kBlock = 256;
    uint32_t sum[kBlock];
    const int radius = box.radius;
    for (int at = 0; at < count; at += kBlock) {
      const int n = least(kBlock, count - at);
      const uint8_t* line = in + at;
      for (int i = 0; i < n; i++) sum[i] = line[i];
      for (int d = 1; d <= radius; d++) {
        const uint8_t *left = line - d * step, *right = line + d * step;
        for (int i = 0; i < n; i++) sum[i] += static_cast<uint32_t>(left[i]) + right[i];
      }
      const uint8_t *left = line - (radius + 1) * step, *right = line + (radius + 1) * step;
      for (int i = 0; i < n; i++) {
        const uint32_t far = static_cast<uint32_t>(left[i]) + right[i];
        out[at + i] = static_cast<uint8_t>((sum[i] * full + far * edge + kHalf) >> 24);
      }
    }
  }
}

#if defined(__AVX2__)

inline __m256i sixteen(const uint8_t* at) {
  return _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
}

// Multiplies pairs of sums (near, far) by their weights, each of which is high * 2^12 + low.
inline __m256i weigh(__m256i sums, __m256i high, __m256i low) {
  const __m256i coarse = _mm256_slli_epi32(_mm256_madd_epi16(sums, high), 12);
  const __m256i fine = _mm256_add_epi32(_mm256_madd_epi16(sums, low), _mm256_set1_epi32(1 << 23));
  return _mm256_srli_epi32(_mm256_add_epi32(coarse, fine), 24);
}

// Sixteen pixels at a time; returns how many are done. Window sums fit in 16 bits; the multiply-add takes the two sums of a
// pixel together, and each weight of 24 bits in two parts: exact, modulo 2^32.
int blur_run_avx2(const uint8_t* in, ptrdiff_t step, const BoxWeights& box, int count, uint8_t* out) {
  const __m256i high = _mm256_set1_epi32(static_cast<int>((box.edge >> 12 << 16) | box.full >> 12));
  const __m256i low = _mm256_set1_epi32(static_cast<int>(((box.edge & 0xfff) << 16) | (box.full & 0xfff)));
  int at = 0;
  for (; at + 16 <= count; at += 16) {
    const uint8_t* line = in + at;
    __m256i near = sixteen(line);
    for (ptrdiff_t d = step; d <= box.radius * step; d += step) {
      near = _mm256_add_epi16(near, _mm256_add_epi16(sixteen(line - d), sixteen(line + d)));
    }
    const ptrdiff_t beyond = (box.radius + 1) * step;
    const __m256i far = _mm256_add_epi16(sixteen(line - beyond), sixteen(line + beyond));
    const __m256i values = _mm256_packus_epi32(weigh(_mm256_unpacklo_epi16(near, far), high, low),
                                               weigh(_mm256_unpackhi_epi16(near, far), high, low));
    const __m256i bytes = _mm256_permute4x64_epi64(_mm256_packus_epi16(values, values), 0x08);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + at), _mm256_castsi256_si128(bytes));
  }
  return at;
}

#endif

void blur_run(const uint8_t* in, ptrdiff_t step, const BoxWeights& box, int count, uint8_t* out) {
  int done = 0;
#if defined(__AVX2__)
  constexpr int kMostRadius = 63;  // a window of 127 pixels: its sum still fits in a signed 16-bit number
  if (box.radius <= kMostRadius) done = blur_run_avx2(in, step, box, count, out);
#endif
  if (done < count) blur_run_portable(in + done, step, box, count - done, out + done);
}

}  // namespace

extern const BlurLoops blur_loops{blur_run};

}  // namespace crops::DINO_LEVEL
