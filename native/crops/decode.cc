// Decodes in the calling thread with the libvips that sharp has loaded. It calls the same C API as sharp, with the same
// decoders and options, so that every byte is the same. What it leaves out is sharp's overhead: two hundred options that are
// read from an object, a pipeline of operations, two switches of threads. That takes 0.7 ms an image, thirty times as long as
// decoding one of 32 x 32 pixels, and a third of decoding one of 500 x 375.
//
// Departures: only plain images are accepted (8 bits, gray or RGB, alpha or not, upright). All others, and those that fail,
// are left to sharp, which also reports why.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <string>

#include "kernels.h"

#if !defined(_WIN32)
#include <dlfcn.h>
#endif

namespace crops {
namespace {

// From the public headers of libvips 8 (vips/enumtypes.h, image.h, foreign.h); they are stable within a major version.
constexpr int kFormatUchar = 0;
constexpr int kInterpretationGray = 1;
constexpr int kInterpretationRgb = 22;
constexpr int kAccessSequential = 1;
constexpr int kFailOnError = 2;

using VipsImage = void;
using VipsRegion = void;

using Loader = int (*)(const void*, size_t, VipsImage**, ...);

// The functions of libvips and GLib that are called here.
struct Vips {
  Loader load_jpeg = nullptr, load_png = nullptr, load_webp = nullptr;
  int (*width)(const VipsImage*) = nullptr;
  int (*height)(const VipsImage*) = nullptr;
  int (*bands)(const VipsImage*) = nullptr;
  int (*format)(const VipsImage*) = nullptr;
  int (*interpretation)(const VipsImage*) = nullptr;
  int (*orientation)(VipsImage*) = nullptr;
  VipsRegion* (*new_region)(VipsImage*) = nullptr;
  uint8_t* (*fetch)(VipsRegion*, int, int, int, int, size_t*) = nullptr;
  void (*unref)(void*) = nullptr;
  void (*free)(void*) = nullptr;
  void (*clear_errors)() = nullptr;
};

// shared by all threads of the process, written once
Vips vips;
std::atomic<bool> is_open{false};

#if !defined(_WIN32)
template <typename Function>
bool find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

bool open_functions(void* library) {
  Vips found;
  const bool is_complete =
      find(library, "vips_jpegload_buffer", found.load_jpeg) && find(library, "vips_pngload_buffer", found.load_png) &&
      find(library, "vips_webpload_buffer", found.load_webp) && find(library, "vips_image_get_width", found.width) &&
      find(library, "vips_image_get_height", found.height) && find(library, "vips_image_get_bands", found.bands) &&
      find(library, "vips_image_get_format", found.format) &&
      find(library, "vips_image_get_interpretation", found.interpretation) &&
      find(library, "vips_image_get_orientation", found.orientation) &&
      find(library, "vips_region_new", found.new_region) && find(library, "vips_region_fetch", found.fetch) &&
      find(library, "g_object_unref", found.unref) && find(library, "g_free", found.free) &&
      find(library, "vips_error_clear", found.clear_errors);
  if (is_complete) vips = found;
  return is_complete;
}
#endif

Loader loader_of(Encoding encoding) {
  switch (encoding) {
    case Encoding::kJpeg:
      return vips.load_jpeg;
    case Encoding::kPng:
      return vips.load_png;
    default:
      return vips.load_webp;
  }
}

// A GObject that is released at the end of its block.
struct Held {
  void* object = nullptr;
  ~Held() {
    if (object != nullptr) vips.unref(object);
  }
};

bool is_plain(VipsImage* image, int bands) {
  const int interpretation = vips.interpretation(image);
  const bool matches = interpretation == kInterpretationRgb ? bands == 3 || bands == 4
                                                            : interpretation == kInterpretationGray && bands <= 2;
  return matches && vips.format(image) == kFormatUchar && vips.orientation(image) == 1;
}

// How much is fetched at a time: so little that it is still in the L2 cache when it is copied.
constexpr int kBandBytes = 65536;

bool decode_image(const uint8_t* bytes, size_t length, Encoding encoding, double max_pixels, uint8_t* out, size_t room,
                  Decoded& decoded) {
  Held image;
  if (loader_of(encoding)(bytes, length, &image.object, "access", kAccessSequential, "fail_on", kFailOnError,
                          static_cast<const char*>(nullptr)) != 0)
    return false;
  const int width = vips.width(image.object), height = vips.height(image.object), bands = vips.bands(image.object);
  if (static_cast<double>(width) * height > max_pixels || !is_plain(image.object, bands)) return false;
  decoded = {width, height, bands, false};
  const size_t row = static_cast<size_t>(width) * bands;
  if (row * height > room) return true;
  Held region;
  region.object = vips.new_region(image.object);
  if (region.object == nullptr) return false;
  const int step = std::max(16, static_cast<int>(kBandBytes / row) / 16 * 16);  // decoders work in rows of 8 or 16
  for (int y = 0; y < height; y += step) {
    size_t size = 0;
    const int rows = std::min(step, height - y);
    uint8_t* pixels = vips.fetch(region.object, 0, y, width, rows, &size);
    if (pixels == nullptr) return false;
    const bool is_whole = size == row * rows;
    if (is_whole) std::memcpy(out + row * y, pixels, size);
    vips.free(pixels);
    if (!is_whole) return false;
  }
  decoded.written = true;
  return true;
}

}  // namespace

bool open_decoder(const std::string& library) {
#if defined(_WIN32)
  (void)library;
#else
  static std::mutex opening;
  const std::lock_guard<std::mutex> lock(opening);
  if (!is_open) {
    // only a library that is loaded already: sharp has done that, and initialized it
    void* handle = dlopen(library.c_str(), RTLD_LAZY | RTLD_LOCAL | RTLD_NOLOAD);
    if (handle != nullptr && open_functions(handle)) is_open = true;
  }
#endif
  return is_open;
}

bool decode(const uint8_t* bytes, size_t length, Encoding encoding, double max_pixels, uint8_t* out, size_t room,
            Decoded& decoded) {
  if (!is_open) return false;
  if (decode_image(bytes, length, encoding, max_pixels, out, room, decoded)) return true;
  vips.clear_errors();
  return false;
}

}  // namespace crops
