// Pillow's point operations on rows of bytes: ImageEnhance (Blend.c), the HSV round trip, convert("L") (Convert.c) and
// ImageOps.solarize. Bit-equal to Pillow; where Pillow computes in float or double, so do these loops, since the last bit
// decides a rounding.
#include "lanes.h"
#include "loops.h"

namespace crops::DINO_LEVEL {
namespace {

// Pillow's blend of two values: float arithmetic, truncated (not rounded), clipped when extrapolating.
inline uint8_t blend(int from, int to, float factor) {
  const float value = static_cast<float>(from) + factor * static_cast<float>(to - from);
  return static_cast<uint8_t>(value < 0.0F ? 0.0F : value > 255.0F ? 255.0F : value);
}

inline int luma(int r, int g, int b) { return (r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16; }

uint64_t luma_sum(const uint8_t* r, const uint8_t* g, const uint8_t* b, size_t count) {
  uint64_t total = 0;
  for (size_t at = 0; at < count; at += 65536) {  // a 32-bit sum of so many values can't overflow
    const size_t end = least(at + 65536, count);
    uint32_t sum = 0;
    for (size_t i = at; i < end; i++) sum += static_cast<uint32_t>(luma(r[i], g[i], b[i]));
    total += sum;
  }
  return total;
}

// Vectorized arithmetic is cheaper here than a table look-up.
void blend_constant_portable(uint8_t* values, size_t count, int constant, float factor) {
  for (size_t i = 0; i < count; i++) values[i] = blend(constant, values[i], factor);
}

void blend_luma_portable(uint8_t* r, uint8_t* g, uint8_t* b, size_t count, float factor) {
  for (size_t i = 0; i < count; i++) {
    const int gray = luma(r[i], g[i], b[i]);
    r[i] = blend(gray, r[i], factor);
    g[i] = blend(gray, g[i], factor);
    b[i] = blend(gray, b[i], factor);
  }
}

void to_luma(uint8_t* r, uint8_t* g, uint8_t* b, size_t count) {
  for (size_t i = 0; i < count; i++) r[i] = g[i] = b[i] = static_cast<uint8_t>(luma(r[i], g[i], b[i]));
}

void invert_above(uint8_t* values, size_t count, int threshold) {
  for (size_t i = 0; i < count; i++) values[i] = values[i] < threshold ? values[i] : 255 - values[i];
}

// Pixels that a stage of shift_hue processes at a time, few enough to stay in the L1 cache.
constexpr int kHueBlock = 128;

// The RGB -> HSV -> RGB round trip. Pillow computes it in a mixture of float and double; the operations below are fewer and
// can be vectorized, and the bytes are the same for every colour and every shift: all 16.7 million colours were tried with
// each. There are two reasons for that. In the hue's sector arithmetic (2.0 + rc - bc and so on) one of rc, gc, bc is 1 and
// one is 0, so it is one float sum. And what is rounded from HSV to RGB is a fraction with denominator 65025, which is never
// so close to a half that the error of Pillow's floats would matter.
void shift_hue_portable(uint8_t* red, uint8_t* green, uint8_t* blue, size_t count, int shift) {
  int32_t h[kHueBlock], s[kHueBlock], v[kHueBlock];
  for (size_t at = 0; at < count; at += kHueBlock) {
    const int n = static_cast<int>(least<size_t>(kHueBlock, count - at));
    uint8_t *r8 = red + at, *g8 = green + at, *b8 = blue + at;

    for (int i = 0; i < n; i++) {
      // conditions are numbers 0 and 1, because compilers don't vectorize branches around float arithmetic
      const int r = r8[i], g = g8[i], b = b8[i];
      const int high = most(r, most(g, b));
      const int low = least(r, least(g, b));
      const int middle = r + g + b - high - low;
      const int coloured = high != low;
      const int is_red = r == high;
      const int is_green = (1 - is_red) & (g == high);
      const int is_blue = 1 - is_red - is_green;
      const int below_zero = is_red & (b > g);
      const int rising = below_zero | (is_green & (b <= r)) | (is_blue & (g > r));
      const float range = static_cast<float>(high - low + (1 - coloured));
      const float t = static_cast<float>(high - middle) / range;
      const float base = static_cast<float>(is_red + 3 * is_green + 5 * is_blue - 2 * rising);
      const float sector = base + static_cast<float>(2 * rising - 1) * t;  // in [-1, 5]
      const float turn = sector / 6.0F + static_cast<float>(below_zero);
      const int hue = static_cast<int>(turn * 255.0F);
      const int saturation = static_cast<int>(range / static_cast<float>(high + (high == 0)) * 255.0F);
      h[i] = (hue * coloured + shift) & 255;
      s[i] = saturation * coloured;
      v[i] = high;
    }
    for (int i = 0; i < n; i++) {
      const int sixth = (h[i] * 6 * 257 + 257) >> 16;  // h * 6 / 255
      const int m = h[i] * 6 - 255 * sixth;            // the place inside it, in 255ths
      const int value = v[i];
      const int third = value * (255 - s[i]) + 128;
      const int p = (third + (third >> 8)) >> 8;
      // rounded quotients; the numerators are below 2^24, and for each of them the product truncates as the division does
      const float falling = static_cast<float>(value * (65025 - s[i] * m) + 32512);
      const float climbing = static_cast<float>(value * (65025 - s[i] * (255 - m)) + 32512);
      const int q = static_cast<int>(falling * (1.0F / 65025.0F));
      const int t = static_cast<int>(climbing * (1.0F / 65025.0F));
      // masks of the sector; with saturation 0, p = q = t = value, so that is not a special case
      const int k0 = -((sixth == 0) | (sixth == 6)), k1 = -(sixth == 1), k2 = -(sixth == 2);
      const int k3 = -(sixth == 3), k4 = -(sixth == 4), k5 = -(sixth == 5);
      r8[i] = static_cast<uint8_t>((value & (k0 | k5)) | (q & k1) | (p & (k2 | k3)) | (t & k4));
      g8[i] = static_cast<uint8_t>((value & (k1 | k2)) | (q & k3) | (p & (k4 | k5)) | (t & k0));
      b8[i] = static_cast<uint8_t>((value & (k3 | k4)) | (q & k5) | (p & (k0 | k1)) | (t & k2));
    }
  }
}

#if defined(__AVX2__)

// 32 bytes as four vectors of eight 32-bit numbers; on the way back, values outside a byte are clipped. The order in between
// is that of unpacking, which packing undoes.
struct Wide {
  __m256i part[4];
};

inline __m256i load(const uint8_t* at) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)); }

inline void store(uint8_t* at, __m256i bytes) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(at), bytes); }

inline Wide widen(__m256i bytes) {
  const __m256i zero = _mm256_setzero_si256();
  const __m256i low = _mm256_unpacklo_epi8(bytes, zero), high = _mm256_unpackhi_epi8(bytes, zero);
  return {{_mm256_unpacklo_epi16(low, zero), _mm256_unpackhi_epi16(low, zero), _mm256_unpacklo_epi16(high, zero),
           _mm256_unpackhi_epi16(high, zero)}};
}

inline __m256i narrow(const Wide& wide) {
  return _mm256_packus_epi16(_mm256_packs_epi32(wide.part[0], wide.part[1]),
                             _mm256_packs_epi32(wide.part[2], wide.part[3]));
}

// blend() of eight values; values below 0 are clipped when they are narrowed.
inline __m256i blend_eight(__m256i from, __m256i to, __m256 factor) {
  const __m256 moved = _mm256_mul_ps(factor, _mm256_cvtepi32_ps(_mm256_sub_epi32(to, from)));
  const __m256 value = _mm256_add_ps(_mm256_cvtepi32_ps(from), moved);
  return _mm256_cvttps_epi32(_mm256_min_ps(value, _mm256_set1_ps(255.0F)));
}

size_t blend_constant_avx2(uint8_t* values, size_t count, int constant, float factor) {
  const __m256i from = _mm256_set1_epi32(constant);
  const __m256 factors = _mm256_set1_ps(factor);
  size_t at = 0;
  for (; at + 32 <= count; at += 32) {
    Wide wide = widen(load(values + at));
    for (__m256i& part : wide.part) part = blend_eight(from, part, factors);
    store(values + at, narrow(wide));
  }
  return at;
}

size_t blend_luma_avx2(uint8_t* r, uint8_t* g, uint8_t* b, size_t count, float factor) {
  const __m256 factors = _mm256_set1_ps(factor);
  size_t at = 0;
  for (; at + 32 <= count; at += 32) {
    Wide red = widen(load(r + at)), green = widen(load(g + at)), blue = widen(load(b + at));
    for (int i = 0; i < 4; i++) {
      const __m256i sum = _mm256_add_epi32(
          _mm256_add_epi32(_mm256_mullo_epi32(red.part[i], _mm256_set1_epi32(19595)),
                           _mm256_mullo_epi32(green.part[i], _mm256_set1_epi32(38470))),
          _mm256_add_epi32(_mm256_mullo_epi32(blue.part[i], _mm256_set1_epi32(7471)), _mm256_set1_epi32(0x8000)));
      const __m256i gray = _mm256_srli_epi32(sum, 16);
      red.part[i] = blend_eight(gray, red.part[i], factors);
      green.part[i] = blend_eight(gray, green.part[i], factors);
      blue.part[i] = blend_eight(gray, blue.part[i], factors);
    }
    store(r + at, narrow(red));
    store(g + at, narrow(green));
    store(b + at, narrow(blue));
  }
  return at;
}

inline __m256i equals(__m256i bytes, char value) { return _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(value)); }

// Chooses the one of four values whose mask is set.
inline __m256i choose(__m256i a, __m256i is_a, __m256i b, __m256i is_b, __m256i c, __m256i is_c, __m256i d,
                      __m256i is_d) {
  return _mm256_or_si256(_mm256_or_si256(_mm256_and_si256(a, is_a), _mm256_and_si256(b, is_b)),
                         _mm256_or_si256(_mm256_and_si256(c, is_c), _mm256_and_si256(d, is_d)));
}

// shift_hue with comparisons and choices on bytes, 32 pixels at a time, and arithmetic on eight pixels at a time.
size_t shift_hue_avx2(uint8_t* red, uint8_t* green, uint8_t* blue, size_t count, int shift) {
  const __m256i zero = _mm256_setzero_si256(), all = _mm256_cmpeq_epi8(zero, zero);
  const __m256 full = _mm256_set1_ps(255.0F), one = _mm256_set1_ps(1.0F);
  const __m256 inverse = _mm256_set1_ps(1.0F / 65025.0F);
  const __m256i shifts = _mm256_set1_epi32(shift), byte = _mm256_set1_epi32(255);
  const __m256i square = _mm256_set1_epi32(65025), half_square = _mm256_set1_epi32(32512);
  size_t at = 0;
  for (; at + 32 <= count; at += 32) {
    const __m256i r = load(red + at), g = load(green + at), b = load(blue + at);
    const __m256i value = _mm256_max_epu8(r, _mm256_max_epu8(g, b));
    const __m256i low = _mm256_min_epu8(r, _mm256_min_epu8(g, b));
    const __m256i middle = _mm256_sub_epi8(_mm256_add_epi8(r, _mm256_add_epi8(g, b)), _mm256_add_epi8(value, low));
    const __m256i is_red = _mm256_cmpeq_epi8(r, value);
    const __m256i is_green = _mm256_andnot_si256(is_red, _mm256_cmpeq_epi8(g, value));
    const __m256i is_blue = _mm256_xor_si256(_mm256_or_si256(is_red, is_green), all);
    // a > b is not (a = min(a, b))
    const __m256i b_not_over_g = _mm256_cmpeq_epi8(b, _mm256_min_epu8(b, g));
    const __m256i b_not_over_r = _mm256_cmpeq_epi8(b, _mm256_min_epu8(b, r));
    const __m256i g_not_over_r = _mm256_cmpeq_epi8(g, _mm256_min_epu8(g, r));
    const __m256i rising = _mm256_or_si256(
        _mm256_andnot_si256(b_not_over_g, is_red),
        _mm256_or_si256(_mm256_and_si256(is_green, b_not_over_r), _mm256_andnot_si256(g_not_over_r, is_blue)));
    // base + 1 = 6 - 4 is_red - 2 is_green - 2 rising, from masks that are -1; it is 0 for a hue below zero
    const __m256i twos = _mm256_add_epi8(_mm256_add_epi8(is_red, is_red), _mm256_add_epi8(is_green, rising));
    const Wide bases = widen(_mm256_add_epi8(_mm256_set1_epi8(6), _mm256_add_epi8(twos, twos)));
    const Wide rests = widen(_mm256_sub_epi8(value, middle)), spans = widen(_mm256_sub_epi8(value, low));
    const Wide values = widen(value);
    // the sign of t, as the top bit of each 32
    const __m256i sign = _mm256_andnot_si256(rising, _mm256_set1_epi8(-128));
    const __m256i sign_low = _mm256_unpacklo_epi8(zero, sign), sign_high = _mm256_unpackhi_epi8(zero, sign);
    const __m256i signs[4] = {_mm256_unpacklo_epi16(zero, sign_low), _mm256_unpackhi_epi16(zero, sign_low),
                              _mm256_unpacklo_epi16(zero, sign_high), _mm256_unpackhi_epi16(zero, sign_high)};
    Wide sixths, p, q, t;
    for (int i = 0; i < 4; i++) {
      const __m256i v = values.part[i], span = spans.part[i];
      // for gray, t is 0 / 1 and the saturation 0, so that the hue does not matter
      const __m256 range = _mm256_cvtepi32_ps(_mm256_sub_epi32(span, _mm256_cmpeq_epi32(span, zero)));
      const __m256 fraction = _mm256_div_ps(_mm256_cvtepi32_ps(rests.part[i]), range);
      const __m256 base = _mm256_sub_ps(_mm256_cvtepi32_ps(bases.part[i]), one);
      const __m256 sector = _mm256_add_ps(base, _mm256_xor_ps(fraction, _mm256_castsi256_ps(signs[i])));
      const __m256 below_zero = _mm256_castsi256_ps(_mm256_cmpeq_epi32(bases.part[i], zero));
      const __m256 turn = _mm256_add_ps(_mm256_div_ps(sector, _mm256_set1_ps(6.0F)), _mm256_and_ps(below_zero, one));
      const __m256i hue = _mm256_cvttps_epi32(_mm256_mul_ps(turn, full));
      const __m256i h = _mm256_and_si256(_mm256_add_epi32(hue, shifts), byte);
      const __m256 most = _mm256_cvtepi32_ps(_mm256_sub_epi32(v, _mm256_cmpeq_epi32(v, zero)));
      const __m256i s = _mm256_cvttps_epi32(_mm256_mul_ps(_mm256_div_ps(_mm256_cvtepi32_ps(span), most), full));

      const __m256i six = _mm256_add_epi32(_mm256_slli_epi32(h, 2), _mm256_slli_epi32(h, 1));
      const __m256i times257 = _mm256_add_epi32(_mm256_slli_epi32(six, 8), six);
      const __m256i sixth = _mm256_srli_epi32(_mm256_add_epi32(times257, _mm256_set1_epi32(257)), 16);
      const __m256i m = _mm256_sub_epi32(six, _mm256_sub_epi32(_mm256_slli_epi32(sixth, 8), sixth));
      const __m256i third = _mm256_add_epi32(_mm256_madd_epi16(v, _mm256_sub_epi32(byte, s)), _mm256_set1_epi32(128));
      p.part[i] = _mm256_srli_epi32(_mm256_add_epi32(third, _mm256_srli_epi32(third, 8)), 8);
      const __m256i down = _mm256_madd_epi16(s, m);
      const __m256i up = _mm256_sub_epi32(_mm256_sub_epi32(_mm256_slli_epi32(s, 8), s), down);  // s * (255 - m)
      const __m256i falling = _mm256_add_epi32(_mm256_mullo_epi32(v, _mm256_sub_epi32(square, down)), half_square);
      const __m256i climbing = _mm256_add_epi32(_mm256_mullo_epi32(v, _mm256_sub_epi32(square, up)), half_square);
      q.part[i] = _mm256_cvttps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(falling), inverse));
      t.part[i] = _mm256_cvttps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(climbing), inverse));
      sixths.part[i] = sixth;
    }
    const __m256i k = narrow(sixths), low8 = narrow(p), down8 = narrow(q), up8 = narrow(t);
    const __m256i k0 = _mm256_or_si256(equals(k, 0), equals(k, 6)), k1 = equals(k, 1), k2 = equals(k, 2);
    const __m256i k3 = equals(k, 3), k4 = equals(k, 4), k5 = equals(k, 5);
    const __m256i k23 = _mm256_or_si256(k2, k3), k45 = _mm256_or_si256(k4, k5), k01 = _mm256_or_si256(k0, k1);
    const __m256i k50 = _mm256_or_si256(k5, k0), k12 = _mm256_or_si256(k1, k2), k34 = _mm256_or_si256(k3, k4);
    store(red + at, choose(value, k50, down8, k1, low8, k23, up8, k4));
    store(green + at, choose(value, k12, down8, k3, low8, k45, up8, k0));
    store(blue + at, choose(value, k34, down8, k5, low8, k01, up8, k2));
  }
  return at;
}

#endif

void blend_constant(uint8_t* values, size_t count, int constant, float factor) {
  size_t done = 0;
#if defined(__AVX2__)
  done = blend_constant_avx2(values, count, constant, factor);
#endif
  blend_constant_portable(values + done, count - done, constant, factor);
}

void blend_luma(uint8_t* r, uint8_t* g, uint8_t* b, size_t count, float factor) {
  size_t done = 0;
#if defined(__AVX2__)
  done = blend_luma_avx2(r, g, b, count, factor);
#endif
  blend_luma_portable(r + done, g + done, b + done, count - done, factor);
}

void shift_hue(uint8_t* r, uint8_t* g, uint8_t* b, size_t count, int shift) {
  size_t done = 0;
#if defined(__AVX2__)
  done = shift_hue_avx2(r, g, b, count, shift);
#endif
  shift_hue_portable(r + done, g + done, b + done, count - done, shift);
}

void interleave(const uint8_t* r, const uint8_t* g, const uint8_t* b, size_t count, uint8_t* out) {
  for (size_t i = 0; i < count; i++) {
    out[3 * i] = r[i];
    out[3 * i + 1] = g[i];
    out[3 * i + 2] = b[i];
  }
}

}  // namespace

extern const ColorLoops color_loops{luma_sum, blend_constant, blend_luma, to_luma, invert_above, shift_hue, interleave};

}  // namespace crops::DINO_LEVEL
