// The pixel kernels of the crops addon: Pillow's image operations on planar 8-bit images, written so that compilers vectorize
// them. Every function returns the same bytes as Pillow 13 does for the same parameters: Resample.c, BoxBlur.c, Convert.c and
// Blend.c of its libImaging define the result, precision and rounding. The loops are arranged differently here (planar, rows
// and columns swapped between the two passes, no running sums). Departures: none in the numbers. There is no policy here:
// TypeScript samples every parameter.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace crops {

// A decoded image: interleaved 8-bit rows of `channels` (1 gray, 2 gray+alpha, 3 RGB, 4 RGB+alpha) bytes a pixel.
struct Source {
  const uint8_t* data;
  int width;
  int height;
  int channels;
};

// The integer rectangle of the source that the resampling may read: Pillow's img.crop(...) before img.resize(...).
struct View {
  int x, y, width, height;
};

// The part of the view, in its pixels, that is scaled to the output: Pillow's img.resize(size, box=...).
struct Box {
  float x0, y0, x1, y1;
};

// The part of the resized image to compute: a centre crop costs no more than its own pixels.
struct Window {
  int x, y, width, height;
};

enum class Filter { kBilinear, kBicubic, kLanczos };

// How far a filter reaches, and its value, in pixels of the scaled image.
double support_of(Filter filter);
double weight_of(Filter filter, double x);

// Buffers that a thread reuses for every crop.
struct Scratch {
  // a part of the source as three planes, both row-major and column-major
  View loaded{0, 0, 0, 0};
  std::vector<uint8_t> rows;
  std::vector<uint8_t> columns;
  size_t row_stride = 0;
  size_t column_stride = 0;
  // between and after the passes, for one plane at a time
  std::vector<uint8_t> first;
  std::vector<uint8_t> turned;
  std::vector<uint8_t> second;
};

// Loads `part` of the source into scratch.rows and scratch.columns (gray is repeated, alpha dropped).
void load_planes(const Source& source, const View& part, Scratch& scratch);

// Resizes box of view to out_width x out_height and writes the window of it as three row-major planes. The view must
// lie inside the part that load_planes has loaded. `flip` mirrors the window left to right.
void resample(Scratch& scratch, const View& view, const Box& box, int out_width, int out_height, const Window& window,
              Filter filter, bool flip, uint8_t* out);

// In place, on three planes of `count` bytes each, one after the other.
void brightness(uint8_t* planes, size_t count, float factor);
void contrast(uint8_t* planes, size_t count, float factor);
void saturation(uint8_t* planes, size_t count, float factor);
void hue(uint8_t* planes, size_t count, double factor);
void grayscale(uint8_t* planes, size_t count);
void solarize(uint8_t* planes, size_t count, int threshold);

// Pillow's GaussianBlur(radius): three extended box blurs along x, then three along y.
void gaussian_blur(uint8_t* planes, int width, int height, float radius, Scratch& scratch);

// Interleaved pixels of any number of channels to interleaved RGB.
void interleave_rgb(const Source& source, uint8_t* out);

// Three planes to interleaved RGB.
void planes_to_rgb(const uint8_t* planes, size_t count, uint8_t* out);

// An image whose channels are kept as they are: interleaved 16-bit rows of up to kMostChannels values a pixel.
struct DeepSource {
  const uint16_t* data;
  int width;
  int height;
  int channels;
};

constexpr int kMostChannels = 16;

// Scales `box` of `view` to (channels, out_height, out_width) planes of float, 0 to 65535. `between` is scratch memory.
void resample_deep(const DeepSource& source, const View& view, const Box& box, int out_width, int out_height,
                   Filter filter, bool flip, std::vector<float>& between, float* planes);

// In place, on one plane, 0 to 65535: its values times the factor, or their distance from the plane's mean.
void brightness_deep(float* plane, size_t count, float factor);
void contrast_deep(float* plane, size_t count, float factor);

// In place, on one plane: a Gaussian of this standard deviation, cut off after three of them.
void gaussian_blur_deep(float* plane, int width, int height, float sigma, std::vector<float>& between);

// Rounds `count` values.
void round_deep(const float* values, size_t count, uint16_t* out);

// The encodings that decode() accepts.
enum class Encoding { kJpeg, kPng, kWebp };

// The result of decode(). `written` is false when the pixels don't fit: they take width * height * channels bytes.
struct Decoded {
  int width, height, channels;
  bool written;
};

// Finds libvips by the name that it was loaded under. False when it is not there: decode() then always returns false.
bool open_decoder(const std::string& library);

// Decodes a plain image in this thread. False when it is not plain, is larger than allowed, or can't be decoded.
bool decode(const uint8_t* bytes, size_t length, Encoding encoding, double max_pixels, uint8_t* out, size_t room,
            Decoded& decoded);

// Pillow's CMYK to RGB, without colour management.
void cmyk_to_rgb(const uint8_t* cmyk, size_t count, uint8_t* out);

}  // namespace crops
