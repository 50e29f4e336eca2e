// The addon's JavaScript interface. Each call takes its numbers as one flat Float64Array and pixels as typed arrays (in
// shared memory too), and writes its result into one of them. Context-aware: every worker thread loads its own instance, and
// the only state is a thread's scratch memory. src/data/crops/crops.ts fills in the parameters of a crop.
#include <napi.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "../vectors_napi.h"
#include "kernels.h"

namespace {

using namespace crops;

// The parameters of a crop: x, y, width, height of a rectangle of the source; output width, height; offset into the buffer;
// flip; number of jitters; four jitter codes; brightness, contrast, saturation, hue; grayscale; blur radius; solarize
// threshold; x0, y0, x1, y1 of the box in the rectangle that is scaled; filter.
enum Field {
  kFieldX,
  kFieldY,
  kFieldWidth,
  kFieldHeight,
  kFieldOutWidth,
  kFieldOutHeight,
  kFieldOffset,
  kFieldFlip,
  kFieldJitters,
  kFieldOrder,
  kFieldBrightness = kFieldOrder + 4,
  kFieldContrast,
  kFieldSaturation,
  kFieldHue,
  kFieldGrayscale,
  kFieldBlur,
  kFieldSolarize,
  kFieldBox,
  kFieldFilter = kFieldBox + 4,
  kFieldCount
};

Scratch& thread_scratch() {
  static thread_local Scratch scratch;
  return scratch;
}

[[noreturn]] void refuse(Napi::Env env, const std::string& message) {
  throw Napi::RangeError::New(env, "internal: crops addon: " + message);
}

struct Pixels {
  uint8_t* data;
  size_t length;
};

Pixels bytes_of(const Napi::CallbackInfo& info, size_t index) {
  if (!info[index].IsTypedArray()) refuse(info.Env(), "argument " + std::to_string(index) + " is not a typed array");
  napi_typedarray_type type;
  size_t length, offset;
  void* data;
  napi_value buffer;
  // not Napi::Uint8Array: on some versions of Node its checks refuse arrays in shared memory
  const napi_status status = napi_get_typedarray_info(info.Env(), info[index], &type, &length, &data, &buffer, &offset);
  if (status != napi_ok || (type != napi_uint8_array && type != napi_uint8_clamped_array)) {
    refuse(info.Env(), "argument " + std::to_string(index) + " is not a Uint8Array");
  }
  return {static_cast<uint8_t*>(data), length};
}

// Pointer and length of a Float64Array.
std::pair<const double*, size_t> numbers_of(const Napi::CallbackInfo& info, size_t index) {
  if (!info[index].IsTypedArray() || info[index].As<Napi::TypedArray>().TypedArrayType() != napi_float64_array) {
    refuse(info.Env(), "argument " + std::to_string(index) + " is not a Float64Array");
  }
  const auto array = info[index].As<Napi::Float64Array>();
  return {array.Data(), array.ElementLength()};
}

std::string text_of(double value) {
  std::ostringstream text;
  text << value;
  return text.str();
}

// Checks a number, which may be anything, before it is cast to another type: NaN is in no range.
double real_of(Napi::Env env, const std::string& what, double value, double low, double high) {
  if (!(value >= low && value <= high)) {
    refuse(env, what + " is " + text_of(value) + ", expected " + text_of(low) + " to " + text_of(high));
  }
  return value;
}

constexpr double kMostInt = std::numeric_limits<int>::max();

int whole_of(Napi::Env env, const std::string& what, double value, double low, double high = kMostInt) {
  real_of(env, what, value, low, high);
  if (value != std::floor(value)) refuse(env, what + " is " + text_of(value) + ", expected a whole number");
  return static_cast<int>(value);
}

// Checks where `count` bytes begin in `out`.
size_t offset_of(Napi::Env env, const std::string& what, double value, double count, const Pixels& out) {
  const double room = static_cast<double>(out.length);
  if (!(value >= 0 && value <= room && value == std::floor(value) && count <= room - value)) {
    refuse(env, what + " does not fit the output: " + text_of(count) + " bytes at " + text_of(value) + " of " +
                    std::to_string(out.length));
  }
  return static_cast<size_t>(value);
}

int int_of(const Napi::CallbackInfo& info, size_t index, const char* what, double low, double high = kMostInt) {
  if (!info[index].IsNumber()) refuse(info.Env(), std::string(what) + " is not a number");
  return whole_of(info.Env(), what, info[index].As<Napi::Number>().DoubleValue(), low, high);
}

Source source_of(const Napi::CallbackInfo& info) {
  const Pixels pixels = bytes_of(info, 0);
  const Source source{pixels.data, int_of(info, 1, "the image's width", 1), int_of(info, 2, "the image's height", 1),
                      int_of(info, 3, "the number of channels", 1, 4)};
  if (pixels.length < static_cast<size_t>(source.width) * source.height * source.channels) {
    refuse(info.Env(), "an image of " + std::to_string(source.width) + " x " + std::to_string(source.height) + " x " +
                           std::to_string(source.channels) + " does not fit " + std::to_string(pixels.length) +
                           " bytes");
  }
  return source;
}

template <typename Image>
bool inside(const View& view, const Image& source) {
  return view.x >= 0 && view.y >= 0 && view.width >= 1 && view.height >= 1 && view.width <= source.width - view.x &&
         view.height <= source.height - view.y;
}

// Checks a box x0, y0, x1, y1 of a view, in its pixels.
Box box_of(Napi::Env env, const std::string& what, const double* n, const View& view) {
  const auto edge = [&](int i, int most) {
    return static_cast<float>(real_of(env, what + "'s edge " + std::to_string(i), n[i], 0, most));
  };
  const Box box{edge(0, view.width), edge(1, view.height), edge(2, view.width), edge(3, view.height)};
  if (!(box.x1 > box.x0 && box.y1 > box.y0)) refuse(env, what + " is empty");
  return box;
}

Filter filter_of(Napi::Env env, double code) {
  constexpr Filter kFilters[] = {Filter::kBilinear, Filter::kBicubic, Filter::kLanczos};
  return kFilters[whole_of(env, "the filter", code, 0, 2)];
}

struct Crop {
  View view;
  Box box;
  int width, height;
  size_t offset;
  Filter filter;
  bool flips;
  int jitters;
  int order[4];
  float brightness, contrast, saturation;
  double hue;
  bool is_gray;
  float blur;
  int solarize;  // -1 for none
};

constexpr double kMostFactor = 1e6;  // of a jitter: the arithmetic stays within 32 bits
constexpr double kMostBlur = 1000;   // pixels

// Checks every number of crop `index`, of which a pixel takes `pixel_bytes`.
template <typename Image>
Crop crop_of(Napi::Env env, const double* n, size_t index, const Image& source, const Pixels& out, int pixel_bytes) {
  const auto name = [&](const char* what) { return "crop " + std::to_string(index) + ": " + what; };
  const auto whole = [&](int field, const char* what, double low, double high) {
    return whole_of(env, name(what), n[field], low, high);
  };
  const auto factor = [&](int field, const char* what) {
    return static_cast<float>(real_of(env, name(what), n[field], -kMostFactor, kMostFactor));
  };
  Crop crop{};
  crop.view = {whole(kFieldX, "x", -kMostInt, kMostInt), whole(kFieldY, "y", -kMostInt, kMostInt),
               whole(kFieldWidth, "the width", -kMostInt, kMostInt),
               whole(kFieldHeight, "the height", -kMostInt, kMostInt)};
  if (!inside(crop.view, source)) {
    refuse(env, "crop " + std::to_string(index) + " lies outside its " + std::to_string(source.width) + " x " +
                    std::to_string(source.height) + " image");
  }
  crop.box = box_of(env, name("the box"), n + kFieldBox, crop.view);
  crop.width = whole(kFieldOutWidth, "the output's width", 1, kMostInt);
  crop.height = whole(kFieldOutHeight, "the output's height", 1, kMostInt);
  const double bytes = static_cast<double>(pixel_bytes) * crop.width * crop.height;
  crop.offset = offset_of(env, "crop " + std::to_string(index), n[kFieldOffset], bytes, out);
  crop.filter = filter_of(env, n[kFieldFilter]);
  crop.flips = whole(kFieldFlip, "flip", 0, 1) != 0;
  crop.jitters = whole(kFieldJitters, "the number of jitters", 0, 4);
  for (int i = 0; i < 4; i++) crop.order[i] = whole(kFieldOrder + i, "a jitter's code", 0, 3);
  crop.brightness = factor(kFieldBrightness, "brightness");
  crop.contrast = factor(kFieldContrast, "contrast");
  crop.saturation = factor(kFieldSaturation, "saturation");
  crop.hue = real_of(env, name("hue"), n[kFieldHue], -kMostFactor, kMostFactor);
  crop.is_gray = whole(kFieldGrayscale, "grayscale", 0, 1) != 0;
  crop.blur = static_cast<float>(real_of(env, name("the blur's radius"), n[kFieldBlur], 0, kMostBlur));
  crop.solarize = whole(kFieldSolarize, "the solarize threshold", -1, 256);
  return crop;
}

void render_crop(Scratch& scratch, const Crop& crop, uint8_t* to) {
  uint8_t* out = to + crop.offset;
  const size_t count = static_cast<size_t>(crop.width) * crop.height;
  resample(scratch, crop.view, crop.box, crop.width, crop.height, Window{0, 0, crop.width, crop.height}, crop.filter,
           crop.flips, out);
  for (int i = 0; i < crop.jitters; i++) {
    switch (crop.order[i]) {
      case 0:
        brightness(out, count, crop.brightness);
        break;
      case 1:
        contrast(out, count, crop.contrast);
        break;
      case 2:
        saturation(out, count, crop.saturation);
        break;
      default:
        hue(out, count, crop.hue);
    }
  }
  if (crop.is_gray) grayscale(out, count);
  if (crop.blur > 0) gaussian_blur(out, crop.width, crop.height, crop.blur, scratch);
  if (crop.solarize >= 0) solarize(out, count, crop.solarize);
}

// How many crops so many numbers describe.
size_t count_of(Napi::Env env, size_t length) {
  const size_t count = length / kFieldCount;
  if (count == 0 || count * kFieldCount != length) {
    refuse(env, "parameters have " + std::to_string(length) + " numbers, expected a multiple of " +
                    std::to_string(static_cast<int>(kFieldCount)));
  }
  return count;
}

// renderCrops(image, width, height, channels, parameters, out): renders all crops of one image.
Napi::Value js_render_crops(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Source source = source_of(info);
  const auto [numbers, length] = numbers_of(info, 4);
  const Pixels out = bytes_of(info, 5);
  const size_t count = count_of(env, length);
  std::vector<Crop> crops;  // all are checked before the first pixel is written
  int left = source.width, top = source.height, right = 0, bottom = 0;
  for (size_t i = 0; i < count; i++) {
    crops.push_back(crop_of(env, numbers + i * kFieldCount, i, source, out, 3));
    const View& view = crops.back().view;
    left = std::min(left, view.x);
    top = std::min(top, view.y);
    right = std::max(right, view.x + view.width);
    bottom = std::max(bottom, view.y + view.height);
  }
  Scratch& scratch = thread_scratch();
  load_planes(source, View{left, top, right - left, bottom - top}, scratch);
  for (const Crop& crop : crops) render_crop(scratch, crop, out.data);
  return env.Undefined();
}

// The bytes of 16-bit values.
Pixels deep_bytes_of(const Napi::CallbackInfo& info, size_t index) {
  const Pixels pixels = bytes_of(info, index);
  if (reinterpret_cast<uintptr_t>(pixels.data) % 2 != 0) {
    refuse(info.Env(), "argument " + std::to_string(index) + " does not begin at an even address");
  }
  return pixels;
}

DeepSource deep_source_of(const Napi::CallbackInfo& info) {
  const Pixels pixels = deep_bytes_of(info, 0);
  const DeepSource source{reinterpret_cast<const uint16_t*>(pixels.data), int_of(info, 1, "the image's width", 1),
                          int_of(info, 2, "the image's height", 1),
                          int_of(info, 3, "the number of channels", 1, kMostChannels)};
  // in double: whole numbers of 64 bits begin again at 0, and the product can be larger
  if (static_cast<double>(pixels.length) < 2.0 * source.width * source.height * source.channels) {
    refuse(info.Env(), "an image of " + std::to_string(source.width) + " x " + std::to_string(source.height) + " x " +
                           std::to_string(source.channels) + " 16-bit values does not fit " +
                           std::to_string(pixels.length) + " bytes");
  }
  return source;
}

// Only what has a meaning for any channels: brightness and contrast of each, and blur.
void render_deep_crop(const DeepSource& source, const Crop& crop, uint8_t* to) {
  static thread_local std::vector<float> planes, between;
  const size_t count = static_cast<size_t>(crop.width) * crop.height;
  planes.resize(count * source.channels);
  resample_deep(source, crop.view, crop.box, crop.width, crop.height, crop.filter, crop.flips, between, planes.data());
  for (int c = 0; c < source.channels; c++) {
    float* plane = planes.data() + c * count;
    for (int i = 0; i < crop.jitters; i++) {
      if (crop.order[i] == 0) {
        brightness_deep(plane, count, crop.brightness);
      } else {
        contrast_deep(plane, count, crop.contrast);
      }
    }
    if (crop.blur > 0) gaussian_blur_deep(plane, crop.width, crop.height, crop.blur, between);
  }
  round_deep(planes.data(), planes.size(), reinterpret_cast<uint16_t*>(to + crop.offset));
}

// renderDeepCrops(image, width, height, channels, parameters, out): the same for 16-bit values of any channels. Image and
// output are given as their bytes.
Napi::Value js_render_deep_crops(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const DeepSource source = deep_source_of(info);
  const auto [numbers, length] = numbers_of(info, 4);
  const Pixels out = deep_bytes_of(info, 5);
  const size_t count = count_of(env, length);
  std::vector<Crop> crops;  // all are checked before the first pixel is written
  for (size_t i = 0; i < count; i++) {
    const Crop crop = crop_of(env, numbers + i * kFieldCount, i, source, out, 2 * source.channels);
    const bool is_coloured = crop.is_gray || crop.solarize >= 0 ||
                             std::any_of(crop.order, crop.order + crop.jitters, [](int code) { return code > 1; });
    if (is_coloured || crop.offset % 2 != 0) {
      refuse(env, "crop " + std::to_string(i) + " has an augmentation for RGB, or an odd offset");
    }
    crops.push_back(crop);
  }
  for (const Crop& crop : crops) render_deep_crop(source, crop, out.data);
  return env.Undefined();
}

// resize(image, width, height, channels, numbers, out): numbers are x0, y0, x1, y1 of the box; resized width, height; x, y,
// width, height of the window; filter (0 bilinear, 1 bicubic, 2 Lanczos); planar (1) or interleaved (0); offset into out.
Napi::Value js_resize(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Source source = source_of(info);
  const auto [n, length] = numbers_of(info, 4);
  const Pixels out = bytes_of(info, 5);
  if (length != 13) refuse(env, "resize takes 13 numbers");
  const View view{0, 0, source.width, source.height};
  const Box box = box_of(env, "the box", n, view);
  const int width = whole_of(env, "the resized width", n[4], 1), height = whole_of(env, "the resized height", n[5], 1);
  const Window window{whole_of(env, "the window's x", n[6], 0), whole_of(env, "the window's y", n[7], 0),
                      whole_of(env, "the window's width", n[8], 1), whole_of(env, "the window's height", n[9], 1)};
  if (window.width > width - window.x || window.height > height - window.y) {
    refuse(env, "the window does not fit the resized image");
  }
  const Filter filter = filter_of(env, n[10]);
  const bool is_planar = whole_of(env, "planar", n[11], 0, 1) != 0;
  const size_t count = static_cast<size_t>(window.width) * window.height;
  uint8_t* to = out.data + offset_of(env, "the window", n[12], 3.0 * static_cast<double>(count), out);
  Scratch& scratch = thread_scratch();
  load_planes(source, view, scratch);
  if (is_planar) {
    resample(scratch, view, box, width, height, window, filter, false, to);
  } else {
    std::vector<uint8_t> planes(3 * count);
    resample(scratch, view, box, width, height, window, filter, false, planes.data());
    planes_to_rgb(planes.data(), count, to);
  }
  return env.Undefined();
}

// toRgb(image, width, height, channels, cmyk, out): interleaved pixels of any number of channels to interleaved RGB.
Napi::Value js_to_rgb(const Napi::CallbackInfo& info) {
  const Source source = source_of(info);
  const bool cmyk = info[4].ToBoolean();
  const Pixels out = bytes_of(info, 5);
  const size_t count = static_cast<size_t>(source.width) * source.height;
  if (out.length < 3 * count || (cmyk && source.channels != 4)) refuse(info.Env(), "toRgb: sizes do not match");
  if (cmyk) {
    cmyk_to_rgb(source.data, count, out.data);
  } else {
    interleave_rgb(source, out.data);
  }
  return info.Env().Undefined();
}

// openDecoder(library): returns whether decode() can be used.
Napi::Value js_open_decoder(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), open_decoder(info[0].As<Napi::String>().Utf8Value()));
}

// decode(bytes, encoding, maxPixels, out, size): writes pixels to `out`, and width, height and channels to `size`
// (Int32Array). Returns 0 when it can't decode the image, 1 when it has, 2 when it has only written the size, because `out`
// is too small.
Napi::Value js_decode(const Napi::CallbackInfo& info) {
  const Pixels bytes = bytes_of(info, 0), out = bytes_of(info, 3);
  const int encoding = int_of(info, 1, "the encoding", 0, 2);
  Napi::Int32Array size = info[4].As<Napi::Int32Array>();
  if (size.ElementLength() != 3) refuse(info.Env(), "decode: wrong arguments");
  Decoded decoded{};
  const double max_pixels =
      real_of(info.Env(), "the most pixels", info[2].ToNumber().DoubleValue(), 0, std::numeric_limits<double>::max());
  if (!decode(bytes.data, bytes.length, static_cast<Encoding>(encoding), max_pixels, out.data, out.length, decoded))
    return Napi::Number::New(info.Env(), 0);
  size[0] = decoded.width;
  size[1] = decoded.height;
  size[2] = decoded.channels;
  return Napi::Number::New(info.Env(), decoded.written ? 1 : 2);
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  export_vectors(env, exports);
  exports.Set("renderCrops", Napi::Function::New(env, js_render_crops));
  exports.Set("renderDeepCrops", Napi::Function::New(env, js_render_deep_crops));
  exports.Set("resize", Napi::Function::New(env, js_resize));
  exports.Set("toRgb", Napi::Function::New(env, js_to_rgb));
  exports.Set("openDecoder", Napi::Function::New(env, js_open_decoder));
  exports.Set("decode", Napi::Function::New(env, js_decode));
  exports.Set("parameterCount", Napi::Number::New(env, static_cast<int>(kFieldCount)));
  return exports;
}

}  // namespace

NODE_API_MODULE(crops, init)
