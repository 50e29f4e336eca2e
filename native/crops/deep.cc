// Crops of images whose channels are taken as they are: 16-bit gray, bands of a satellite, any number up to kMostChannels. The
// filters are Pillow's, as everywhere; the arithmetic is that of floats, rounded once at the end, where the 8-bit kernels
// round after every operation as Pillow does.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels.h"

namespace crops {
namespace {

constexpr float kMostValue = 65535.0F;

float clipped(float value) { return std::min(std::max(value, 0.0F), kMostValue); }

// What each output of a pass is made of: inputs from `begin` on, with their weights.
struct Taps {
  int size = 0;  // room for weights of each
  std::vector<int> begin, count;
  std::vector<float> weights;
};

// As precompute_coeffs of Pillow's Resample.c.
Taps taps_of(int in_size, float in0, float in1, int out_size, Filter filter) {
  const double scale = static_cast<double>(in1 - in0) / out_size;
  const double filter_scale = std::max(scale, 1.0);
  const double support = support_of(filter) * filter_scale;
  Taps taps;
  taps.size = static_cast<int>(std::ceil(support)) * 2 + 1;
  taps.begin.resize(out_size);
  taps.count.resize(out_size);
  taps.weights.assign(static_cast<size_t>(out_size) * taps.size, 0.0F);
  std::vector<double> weights(taps.size);
  for (int i = 0; i < out_size; i++) {
    const double center = in0 + (i + 0.5) * scale;
    const int begin = std::max(static_cast<int>(center - support + 0.5), 0);
    const int count = std::min(static_cast<int>(center + support + 0.5), in_size) - begin;
    double sum = 0.0;
    for (int k = 0; k < count; k++) {
      weights[k] = weight_of(filter, (k + begin - center + 0.5) / filter_scale);
      sum += weights[k];
    }
    for (int k = 0; k < count; k++) {
      taps.weights[static_cast<size_t>(i) * taps.size + k] =
          static_cast<float>(sum != 0.0 ? weights[k] / sum : weights[k]);
    }
    taps.begin[i] = begin;
    taps.count[i] = count;
  }
  return taps;
}

}  // namespace

void resample_deep(const DeepSource& source, const View& view, const Box& box, int out_width, int out_height,
                   Filter filter, bool flip, std::vector<float>& between, float* planes) {
  const Taps x = taps_of(view.width, box.x0, box.x1, out_width, filter);
  const Taps y = taps_of(view.height, box.y0, box.y1, out_height, filter);
  const int channels = source.channels;
  const int top = y.begin.front(), bottom = y.begin.back() + y.count.back();
  const size_t row_size = static_cast<size_t>(out_width) * channels;
  const size_t rows = bottom - top;
  between.resize((rows + 1) * row_size);

  for (size_t r = 0; r < rows; r++) {
    const size_t first = (static_cast<size_t>(view.y) + top + r) * source.width + view.x;
    const uint16_t* row = source.data + first * channels;
    float* out = between.data() + r * row_size;
    for (int i = 0; i < out_width; i++, out += channels) {
      float sums[kMostChannels] = {};
      const float* weights = x.weights.data() + static_cast<size_t>(i) * x.size;
      const uint16_t* pixel = row + static_cast<size_t>(x.begin[i]) * channels;
      for (int k = 0; k < x.count[i]; k++, pixel += channels) {
        for (int c = 0; c < channels; c++) sums[c] += weights[k] * static_cast<float>(pixel[c]);
      }
      std::copy(sums, sums + channels, out);
    }
  }

  float* line = between.data() + rows * row_size;
  const size_t plane = static_cast<size_t>(out_width) * out_height;
  for (int j = 0; j < out_height; j++) {
    std::fill(line, line + row_size, 0.0F);
    const float* weights = y.weights.data() + static_cast<size_t>(j) * y.size;
    for (int k = 0; k < y.count[j]; k++) {
      const float* row = between.data() + (y.begin[j] - top + k) * row_size;
      for (size_t i = 0; i < row_size; i++) line[i] += weights[k] * row[i];
    }
    for (int c = 0; c < channels; c++) {
      float* out = planes + c * plane + static_cast<size_t>(j) * out_width;
      for (int i = 0; i < out_width; i++) {
        out[flip ? out_width - 1 - i : i] = clipped(line[static_cast<size_t>(i) * channels + c]);
      }
    }
  }
}

void brightness_deep(float* plane, size_t count, float factor) {
  for (size_t i = 0; i < count; i++) plane[i] = clipped(plane[i] * factor);
}

void contrast_deep(float* plane, size_t count, float factor) {
  double sum = 0.0;
  for (size_t i = 0; i < count; i++) sum += plane[i];
  const float mean = static_cast<float>(sum / static_cast<double>(count));
  for (size_t i = 0; i < count; i++) plane[i] = clipped(mean + factor * (plane[i] - mean));
}

void gaussian_blur_deep(float* plane, int width, int height, float sigma, std::vector<float>& between) {
  const int radius = std::max(1, static_cast<int>(std::ceil(3.0F * sigma)));
  std::vector<float> weights(2 * static_cast<size_t>(radius) + 1);
  double sum = 0.0;
  for (int k = -radius; k <= radius; k++) sum += std::exp(-0.5 * k * k / (static_cast<double>(sigma) * sigma));
  for (int k = -radius; k <= radius; k++) {
    weights[k + radius] = static_cast<float>(std::exp(-0.5 * k * k / (static_cast<double>(sigma) * sigma)) / sum);
  }
  // what lies outside has the values of the edge
  between.resize(static_cast<size_t>(width) * height);
  for (int y = 0; y < height; y++) {
    const float* row = plane + static_cast<size_t>(y) * width;
    float* out = between.data() + static_cast<size_t>(y) * width;
    for (int x = 0; x < width; x++) {
      float value = 0.0F;
      for (int k = -radius; k <= radius; k++) value += weights[k + radius] * row[std::clamp(x + k, 0, width - 1)];
      out[x] = value;
    }
  }
  for (int y = 0; y < height; y++) {
    float* out = plane + static_cast<size_t>(y) * width;
    std::fill(out, out + width, 0.0F);
    for (int k = -radius; k <= radius; k++) {
      const float* row = between.data() + static_cast<size_t>(std::clamp(y + k, 0, height - 1)) * width;
      for (int x = 0; x < width; x++) out[x] += weights[k + radius] * row[x];
    }
  }
}

void round_deep(const float* values, size_t count, uint16_t* out) {
  for (size_t i = 0; i < count; i++) out[i] = static_cast<uint16_t>(clipped(values[i]) + 0.5F);
}

}  // namespace crops
