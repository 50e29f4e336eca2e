// The addon's JavaScript face. Numbers go in as one flat Float64Array a call, pixels as typed arrays (also over
// shared memory), nothing is allocated for the result. Context-aware: every worker thread loads its own instance,
// and the only state is a thread's scratch memory. The layout of a crop's parameters is in src/data/crops.ts.
#include <napi.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "kernels.h"

namespace {

using namespace crops;

// One crop: x, y, width, height in the source; output width, height; offset into the buffer; flip; how many jitters;
// four jitter codes; brightness, contrast, saturation, hue; grayscale; blur radius; solarize threshold; the box
// inside the rectangle that is scaled: x0, y0, x1, y1; filter.
enum Field {
  fieldX,
  fieldY,
  fieldWidth,
  fieldHeight,
  fieldOutWidth,
  fieldOutHeight,
  fieldOffset,
  fieldFlip,
  fieldJitters,
  fieldOrder,
  fieldBrightness = fieldOrder + 4,
  fieldContrast,
  fieldSaturation,
  fieldHue,
  fieldGrayscale,
  fieldBlur,
  fieldSolarize,
  fieldBox,
  fieldFilter = fieldBox + 4,
  fieldCount
};

Scratch &threadScratch() {
  static thread_local Scratch scratch;
  return scratch;
}

[[noreturn]] void refuse(Napi::Env env, const std::string &message) {
  throw Napi::RangeError::New(env, "internal: crops addon: " + message);
}

struct Pixels {
  uint8_t *data;
  size_t length;
};

Pixels bytesOf(const Napi::CallbackInfo &info, size_t index) {
  if (!info[index].IsTypedArray()) refuse(info.Env(), "argument " + std::to_string(index) + " is not a typed array");
  napi_typedarray_type type;
  size_t length, offset;
  void *data;
  napi_value buffer;
  // not Napi::Uint8Array: its checks don't know arrays over shared memory on every Node
  const napi_status status =
      napi_get_typedarray_info(info.Env(), info[index], &type, &length, &data, &buffer, &offset);
  if (status != napi_ok || (type != napi_uint8_array && type != napi_uint8_clamped_array)) {
    refuse(info.Env(), "argument " + std::to_string(index) + " is not a Uint8Array");
  }
  return {static_cast<uint8_t *>(data), length};
}

int intOf(const Napi::CallbackInfo &info, size_t index) { return info[index].As<Napi::Number>().Int32Value(); }

Source sourceOf(const Napi::CallbackInfo &info) {
  const Pixels pixels = bytesOf(info, 0);
  const Source source{pixels.data, intOf(info, 1), intOf(info, 2), intOf(info, 3)};
  if (source.width < 1 || source.height < 1 || source.channels < 1 || source.channels > 4 ||
      pixels.length < static_cast<size_t>(source.width) * source.height * source.channels) {
    refuse(info.Env(), "an image of " + std::to_string(source.width) + " x " + std::to_string(source.height) + " x " +
                           std::to_string(source.channels) + " does not fit " + std::to_string(pixels.length) + " bytes");
  }
  return source;
}

bool inside(const View &view, const Source &source) {
  return view.x >= 0 && view.y >= 0 && view.width >= 1 && view.height >= 1 && view.width <= source.width - view.x &&
         view.height <= source.height - view.y;
}

bool inside(const Box &box, const View &view) {
  return box.x0 >= 0 && box.y0 >= 0 && box.x1 > box.x0 && box.y1 > box.y0 && box.x1 <= view.width &&
         box.y1 <= view.height;
}

Filter filterOf(double code) {
  if (code == 0) return Filter::bilinear;
  return code == 2 ? Filter::lanczos : Filter::bicubic;
}

View viewOf(const double *crop) {
  return {static_cast<int>(crop[fieldX]), static_cast<int>(crop[fieldY]), static_cast<int>(crop[fieldWidth]),
          static_cast<int>(crop[fieldHeight])};
}

void renderCrop(Scratch &scratch, const double *crop, uint8_t *out) {
  const View view = viewOf(crop);
  const Box box{static_cast<float>(crop[fieldBox]), static_cast<float>(crop[fieldBox + 1]),
                static_cast<float>(crop[fieldBox + 2]), static_cast<float>(crop[fieldBox + 3])};
  const int width = static_cast<int>(crop[fieldOutWidth]), height = static_cast<int>(crop[fieldOutHeight]);
  const size_t count = static_cast<size_t>(width) * height;
  resample(scratch, view, box, width, height, Window{0, 0, width, height}, filterOf(crop[fieldFilter]),
           crop[fieldFlip] != 0, out);
  for (int i = 0; i < static_cast<int>(crop[fieldJitters]); i++) {
    switch (static_cast<int>(crop[fieldOrder + i])) {
      case 0:
        brightness(out, count, static_cast<float>(crop[fieldBrightness]));
        break;
      case 1:
        contrast(out, count, static_cast<float>(crop[fieldContrast]));
        break;
      case 2:
        saturation(out, count, static_cast<float>(crop[fieldSaturation]));
        break;
      default:
        hue(out, count, crop[fieldHue]);
    }
  }
  if (crop[fieldGrayscale] != 0) grayscale(out, count);
  if (crop[fieldBlur] > 0) gaussianBlur(out, width, height, static_cast<float>(crop[fieldBlur]), scratch);
  if (crop[fieldSolarize] >= 0) solarize(out, count, static_cast<int>(crop[fieldSolarize]));
}

/// renderCrops(image, width, height, channels, parameters, out): every crop of one image.
Napi::Value RenderCrops(const Napi::CallbackInfo &info) {
  const Napi::Env env = info.Env();
  const Source source = sourceOf(info);
  const Napi::Float64Array parameters = info[4].As<Napi::Float64Array>();
  const Pixels out = bytesOf(info, 5);
  const size_t crops = parameters.ElementLength() / fieldCount;
  if (crops == 0 || crops * fieldCount != parameters.ElementLength()) {
    refuse(env, "parameters have " + std::to_string(parameters.ElementLength()) + " numbers, expected a multiple of " +
                    std::to_string(static_cast<int>(fieldCount)));
  }
  int left = source.width, top = source.height, right = 0, bottom = 0;
  for (size_t i = 0; i < crops; i++) {
    const double *crop = parameters.Data() + i * fieldCount;
    const View view = viewOf(crop);
    const Box box{static_cast<float>(crop[fieldBox]), static_cast<float>(crop[fieldBox + 1]),
                  static_cast<float>(crop[fieldBox + 2]), static_cast<float>(crop[fieldBox + 3])};
    if (!inside(view, source) || !inside(box, view)) {
      refuse(env, "crop " + std::to_string(i) + " lies outside its " + std::to_string(source.width) + " x " +
                      std::to_string(source.height) + " image");
    }
    const double end = crop[fieldOffset] + 3 * crop[fieldOutWidth] * crop[fieldOutHeight];
    if (!(crop[fieldOutWidth] >= 1 && crop[fieldOutHeight] >= 1 && crop[fieldOffset] >= 0 &&
          end <= static_cast<double>(out.length)) ||
        !(crop[fieldJitters] >= 0 && crop[fieldJitters] <= 4)) {
      refuse(env, "crop " + std::to_string(i) + " does not fit the output");
    }
    left = std::min(left, view.x);
    top = std::min(top, view.y);
    right = std::max(right, view.x + view.width);
    bottom = std::max(bottom, view.y + view.height);
  }
  Scratch &scratch = threadScratch();
  loadPlanes(source, View{left, top, right - left, bottom - top}, scratch);
  for (size_t i = 0; i < crops; i++) {
    const double *crop = parameters.Data() + i * fieldCount;
    renderCrop(scratch, crop, out.data + static_cast<size_t>(crop[fieldOffset]));
  }
  return env.Undefined();
}

/// resize(image, width, height, channels, numbers, out): numbers are box x0, y0, x1, y1; resized width, height;
/// window x, y, width, height; filter (0 bilinear, 1 bicubic, 2 Lanczos); planar (1) or interleaved (0); offset into out.
Napi::Value Resize(const Napi::CallbackInfo &info) {
  const Napi::Env env = info.Env();
  const Source source = sourceOf(info);
  const Napi::Float64Array numbers = info[4].As<Napi::Float64Array>();
  const Pixels out = bytesOf(info, 5);
  if (numbers.ElementLength() != 13) refuse(env, "resize takes 13 numbers");
  const double *n = numbers.Data();
  const View view{0, 0, source.width, source.height};
  const Box box{static_cast<float>(n[0]), static_cast<float>(n[1]), static_cast<float>(n[2]), static_cast<float>(n[3])};
  const int width = static_cast<int>(n[4]), height = static_cast<int>(n[5]);
  const Window window{static_cast<int>(n[6]), static_cast<int>(n[7]), static_cast<int>(n[8]), static_cast<int>(n[9])};
  if (!inside(box, view)) refuse(env, "the box lies outside the image");
  const size_t count = static_cast<size_t>(window.width) * window.height;
  if (width < 1 || height < 1 || window.x < 0 || window.y < 0 || window.width < 1 || window.height < 1 ||
      window.width > width - window.x || window.height > height - window.y || !(n[12] >= 0) ||
      n[12] + 3.0 * static_cast<double>(count) > static_cast<double>(out.length)) {
    refuse(env, "the window does not fit the resized image or the output");
  }
  const Filter filter = filterOf(n[10]);
  uint8_t *to = out.data + static_cast<size_t>(n[12]);
  Scratch &scratch = threadScratch();
  loadPlanes(source, view, scratch);
  if (n[11] != 0) {
    resample(scratch, view, box, width, height, window, filter, false, to);
  } else {
    std::vector<uint8_t> planes(3 * count);
    resample(scratch, view, box, width, height, window, filter, false, planes.data());
    planesToRgb(planes.data(), count, to);
  }
  return env.Undefined();
}

/// toRgb(image, width, height, channels, cmyk, out): interleaved pixels of any channel count to interleaved RGB.
Napi::Value ToRgb(const Napi::CallbackInfo &info) {
  const Source source = sourceOf(info);
  const bool cmyk = info[4].ToBoolean();
  const Pixels out = bytesOf(info, 5);
  const size_t count = static_cast<size_t>(source.width) * source.height;
  if (out.length < 3 * count || (cmyk && source.channels != 4)) refuse(info.Env(), "toRgb: sizes do not match");
  if (cmyk) {
    cmykToRgb(source.data, count, out.data);
  } else {
    interleaveRgb(source, out.data);
  }
  return info.Env().Undefined();
}

/// openDecoder(library): whether decode() can be used.
Napi::Value OpenDecoder(const Napi::CallbackInfo &info) {
  return Napi::Boolean::New(info.Env(), openDecoder(info[0].As<Napi::String>().Utf8Value()));
}

/// decode(bytes, encoding, maxPixels, out, size): pixels into `out`, width, height and channels into `size`
/// (Int32Array); whether it did: 0 no, 1 yes, 2 when `out` is too small for the size.
Napi::Value Decode(const Napi::CallbackInfo &info) {
  const Pixels bytes = bytesOf(info, 0), out = bytesOf(info, 3);
  const int encoding = intOf(info, 1);
  Napi::Int32Array size = info[4].As<Napi::Int32Array>();
  if (encoding < 0 || encoding > 2 || size.ElementLength() != 3) refuse(info.Env(), "decode: wrong arguments");
  Decoded decoded{};
  const double maxPixels = info[2].As<Napi::Number>().DoubleValue();
  if (!decode(bytes.data, bytes.length, static_cast<Encoding>(encoding), maxPixels, out.data, out.length, decoded))
    return Napi::Number::New(info.Env(), 0);
  size[0] = decoded.width;
  size[1] = decoded.height;
  size[2] = decoded.channels;
  return Napi::Number::New(info.Env(), decoded.written ? 1 : 2);
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("renderCrops", Napi::Function::New(env, RenderCrops));
  exports.Set("resize", Napi::Function::New(env, Resize));
  exports.Set("toRgb", Napi::Function::New(env, ToRgb));
  exports.Set("openDecoder", Napi::Function::New(env, OpenDecoder));
  exports.Set("decode", Napi::Function::New(env, Decode));
  exports.Set("parameterCount", Napi::Number::New(env, static_cast<int>(fieldCount)));
  return exports;
}

}  // namespace

NODE_API_MODULE(crops, Init)
