// Pixel kernels behind the crops addon: Pillow's image operations on planar 8-bit images, written so that compilers
// vectorise them. Every function gives the same bytes as Pillow 13 does for the same parameters: Resample.c,
// BoxBlur.c, Convert.c and Blend.c of its libImaging say what must come out, in which precision and rounding. The
// loops here are arranged otherwise (planar, rows and columns swapped between the two passes, no running sums).
// Departures: none in the numbers. There is no policy here: TypeScript samples every parameter.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

// Where compilers' own vectors are far from what the machine can do, kernels have a version in AVX2 intrinsics, taken at
// run time where the machine has them; other machines have the portable loops.
#if defined(__x86_64__)
#define CROPS_X86
#include <immintrin.h>
#define CROPS_AVX2 __attribute__((target("avx2")))
#define CROPS_AVX2_INLINE __attribute__((target("avx2"), always_inline)) inline
#endif

namespace crops {

/// A decoded image: interleaved 8-bit rows of `channels` (1 gray, 2 gray+alpha, 3 RGB, 4 RGB+alpha) bytes a pixel.
struct Source {
  const uint8_t *data;
  int width;
  int height;
  int channels;
};

/// The integer rectangle of the source that exists for the resampling: Pillow's img.crop(...) before img.resize(...).
struct View {
  int x, y, width, height;
};

/// The part of the view, in its pixels, that is scaled to the output: Pillow's img.resize(size, box=...).
struct Box {
  float x0, y0, x1, y1;
};

/// The part of the resized image that is wanted: a centre crop costs no more than its own pixels.
struct Window {
  int x, y, width, height;
};

enum class Filter { bilinear, bicubic, lanczos };

/// Buffers that are used again for every crop of a thread.
struct Scratch {
  // a part of the source as three planes, stored both ways round
  View loaded{0, 0, 0, 0};
  std::vector<uint8_t> rows;
  std::vector<uint8_t> columns;
  size_t rowStride = 0;
  size_t columnStride = 0;
  // between and after the passes, for one plane at a time
  std::vector<uint8_t> first;
  std::vector<uint8_t> turned;
  std::vector<uint8_t> second;
};

/// Brings `part` of the source into scratch.rows and scratch.columns (gray is repeated, alpha dropped).
void loadPlanes(const Source &source, const View &part, Scratch &scratch);

/// Resizes box of view to outWidth x outHeight and writes the window of it as three row-major planes. The view must
/// lie inside what loadPlanes brought. `flip` mirrors the written window left to right.
void resample(Scratch &scratch, const View &view, const Box &box, int outWidth, int outHeight, const Window &window,
              Filter filter, bool flip, uint8_t *out);

// In place, on three planes of `count` bytes each, one after the other.
void brightness(uint8_t *planes, size_t count, float factor);
void contrast(uint8_t *planes, size_t count, float factor);
void saturation(uint8_t *planes, size_t count, float factor);
void hue(uint8_t *planes, size_t count, double factor);
void grayscale(uint8_t *planes, size_t count);
void solarize(uint8_t *planes, size_t count, int threshold);

/// Whether the machine has AVX2; false where it is not asked for.
bool hasAvx2();

/// Pillow's GaussianBlur(radius): three extended box blurs along x, then three along y.
void gaussianBlur(uint8_t *planes, int width, int height, float radius, Scratch &scratch);

/// Interleaved pixels of any channel count to interleaved RGB.
void interleaveRgb(const Source &source, uint8_t *out);

/// Three planes to interleaved RGB.
void planesToRgb(const uint8_t *planes, size_t count, uint8_t *out);

/// The encodings that decode() takes.
enum class Encoding { jpeg, png, webp };

/// What decode() found. `written` is false when the pixels did not fit: they need width * height * channels bytes.
struct Decoded {
  int width, height, channels;
  bool written;
};

/// Finds libvips by the name that it was loaded under. False when there is none: decode() then says no to everything.
bool openDecoder(const std::string &library);

/// Decodes a plain picture in this thread. False when it is none, is larger than allowed, or fails.
bool decode(const uint8_t *bytes, size_t length, Encoding encoding, double maxPixels, uint8_t *out, size_t room,
            Decoded &decoded);

/// Pillow's CMYK to RGB: no colour management.
void cmykToRgb(const uint8_t *cmyk, size_t count, uint8_t *out);

}  // namespace crops

// One binary for every x86-64: the dynamic loader picks the widest version that the machine has. The build sets
// -ffp-contract=off, since fused multiply-adds would round otherwise than Pillow does.
#if defined(__linux__) && defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define CROPS_SIMD __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CROPS_SIMD
#endif
