// Batch normalization and what follows it in a ResNet, with its gradient:
//
//   dino::batch_norm(x, norm, skip, relu)   norm(x) + skip in training, or its ReLU
//
// As libtorch's operators they go over an activation nine times forward and backward, which takes longer than a narrow
// network's convolutions where these are products of bfloat16: statistics (twice), the norm, the sum, ReLU; then ReLU's
// gradient, the norm's sums, its gradient. Here it is two passes forward and two backward. Statistics are those of chunks of
// rows, merged in double precision in the chunks' order, whatever the number of threads.
#include <ATen/Parallel.h>
#include <ATen/ops/batch_norm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/relu.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <cmath>

#include "branches.h"

namespace dino::batch_norm {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Bytes of a chunk of rows: its second pass finds it in a core's cache.
constexpr int64_t kChunkBytes = 1 << 17;

// An activation as rows of channels: (B, C) or (B, C, H, W) in channels-last.
struct Rows {
  int64_t rows, channels, per_chunk, chunks;

  explicit Rows(const at::Tensor& x)
      : rows(x.numel() / x.size(1)), channels(x.size(1)),
        per_chunk(std::max<int64_t>(1, kChunkBytes / (channels * x.element_size()))),
        chunks((rows + per_chunk - 1) / per_chunk) {}

  // fn(chunk, first row, number of rows), in several threads.
  template <typename Fn>
  void each(Fn fn) const {
    at::parallel_for(0, chunks, 1, [&](int64_t from, int64_t to) {
      for (int64_t chunk = from; chunk < to; chunk++) {
        const int64_t first = chunk * per_chunk;
        fn(chunk, first, std::min(per_chunk, rows - first));
      }
    });
  }
};

struct Statistics {
  std::vector<double> mean, variance;  // of each channel; the variance is the biased one
};

template <typename T>
T* data(const at::Tensor& x) {
  return static_cast<T*>(x.data_ptr());
}

template <typename T>
Statistics statistics_of(const Rows& shape, const T* x) {
  const int64_t n = shape.channels;
  std::vector<float> means(shape.chunks * n), spreads(shape.chunks * n);
  shape.each([&](int64_t chunk, int64_t first, int64_t rows) {
    channel_loops<T>().statistics(x + first * n, rows, n, &means[chunk * n], &spreads[chunk * n]);
  });
  Statistics all{std::vector<double>(n), std::vector<double>(n)};
  for (int64_t c = 0; c < n; c++) {
    // Chan et al. 1979: the sum of squares stays accurate where the mean is large
    double count = 0, mean = 0, spread = 0;
    for (int64_t chunk = 0; chunk < shape.chunks; chunk++) {
      const double rows = std::min(shape.per_chunk, shape.rows - chunk * shape.per_chunk);
      const double apart = means[chunk * n + c] - mean;
      count += rows;
      mean += apart * rows / count;
      spread += spreads[chunk * n + c] + apart * apart * rows * (count - rows) / count;
    }
    all.mean[c] = mean;
    all.variance[c] = spread / count;
  }
  return all;
}

struct Parameters {
  at::Tensor weight, bias;                // (C)
  MaybeTensor running_mean, running_var;  // (C), changed; none: not tracked
  double momentum, eps;
};

void track(const Parameters& norm, const Statistics& found, int64_t rows) {
  if (!norm.running_mean) return;
  float *mean = norm.running_mean->data_ptr<float>(), *variance = norm.running_var->data_ptr<float>();
  const double unbiased = static_cast<double>(rows) / static_cast<double>(rows - 1);
  for (size_t c = 0; c < found.mean.size(); c++) {
    mean[c] = static_cast<float>(norm.momentum * found.mean[c] + (1 - norm.momentum) * mean[c]);
    variance[c] = static_cast<float>(norm.momentum * found.variance[c] * unbiased + (1 - norm.momentum) * variance[c]);
  }
}

struct Forward {
  at::Tensor y;           // as x
  at::Tensor statistics;  // (2, C), float32: mean and 1 / sqrt(variance + eps)
};

template <typename T>
Forward forward_as(const at::Tensor& x, const Parameters& norm, const MaybeTensor& skip, bool relu) {
  const Rows shape(x);
  const int64_t n = shape.channels;
  const T* in = data<T>(x);
  const Statistics found = statistics_of(shape, in);
  track(norm, found, shape.rows);
  Forward result{at::empty_like(x), at::empty({2, n}, norm.weight.options())};
  float *mean = result.statistics.data_ptr<float>(), *rstd = mean + n;
  const float *weight = norm.weight.const_data_ptr<float>(), *bias = norm.bias.const_data_ptr<float>();
  std::vector<float> scale(n), shift(n);
  for (int64_t c = 0; c < n; c++) {
    mean[c] = static_cast<float>(found.mean[c]);
    rstd[c] = static_cast<float>(1 / std::sqrt(found.variance[c] + norm.eps));
    scale[c] = rstd[c] * weight[c];
    shift[c] = static_cast<float>(bias[c] + (mean[c] - found.mean[c]) * scale[c]);  // what float32 took from the mean
  }
  const T* added = skip ? data<T>(*skip) : nullptr;
  T* out = data<T>(result.y);
  shape.each([&](int64_t, int64_t first, int64_t rows) {
    const int64_t at = first * n;
    channel_loops<T>().apply(in + at, {mean, scale.data(), shift.data()}, added ? added + at : nullptr, relu, out + at,
                             rows, n);
  });
  return result;
}

struct Backward {
  at::Tensor x, weight, bias, skip;
};

// Without ReLU y is undefined.
template <typename T>
Backward backward_as(const at::Tensor& upstream, const at::Tensor& y, const at::Tensor& x, const at::Tensor& statistics,
                     const at::Tensor& weights, bool skips) {
  const Rows shape(x);
  const int64_t n = shape.channels;
  const T *above = data<T>(upstream), *out = y.defined() ? data<T>(y) : nullptr, *in = data<T>(x);
  const float *mean = statistics.const_data_ptr<float>(), *rstd = mean + n, *weight = weights.const_data_ptr<float>();
  std::vector<float> sums(shape.chunks * n), products(shape.chunks * n);
  shape.each([&](int64_t chunk, int64_t first, int64_t rows) {
    const int64_t at = first * n;
    channel_loops<T>().sums(above + at, out ? out + at : nullptr, in + at, mean, &sums[chunk * n], &products[chunk * n],
                            rows, n);
  });
  Backward result{at::empty_like(x), at::empty_like(weights), at::empty_like(weights),
                  skips ? at::empty_like(x) : at::Tensor()};
  float *grad_weight = result.weight.data_ptr<float>(), *grad_bias = result.bias.data_ptr<float>();
  std::vector<float> offset(n), slope(n), scale(n);
  for (int64_t c = 0; c < n; c++) {
    double sum = 0, product = 0;
    for (int64_t chunk = 0; chunk < shape.chunks; chunk++) {
      sum += sums[chunk * n + c];
      product += products[chunk * n + c];
    }
    grad_bias[c] = static_cast<float>(sum);
    grad_weight[c] = static_cast<float>(product * rstd[c]);
    offset[c] = static_cast<float>(sum / static_cast<double>(shape.rows));
    slope[c] = static_cast<float>(product * rstd[c] * rstd[c] / static_cast<double>(shape.rows));
    scale[c] = weight[c] * rstd[c];
  }
  T *grad_x = data<T>(result.x), *grad_skip = skips ? data<T>(result.skip) : nullptr;
  shape.each([&](int64_t, int64_t first, int64_t rows) {
    const int64_t at = first * n;
    channel_loops<T>().gradient(above + at, out ? out + at : nullptr, in + at,
                                {mean, offset.data(), slope.data(), scale.data()}, grad_x + at,
                                grad_skip ? grad_skip + at : nullptr, rows, n);
  });
  return result;
}

// The rows of x have no gaps.
at::MemoryFormat layout_of(const at::Tensor& x) {
  return x.dim() == 4 ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
}

Forward run_forward(const at::Tensor& x, const Parameters& norm, const MaybeTensor& skip, bool relu) {
  return x.scalar_type() == at::kFloat ? forward_as<float>(x, norm, skip, relu)
                                       : forward_as<uint16_t>(x, norm, skip, relu);
}

class BatchNorm : public torch::autograd::Function<BatchNorm> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& bias, const MaybeTensor& running_mean, const MaybeTensor& running_var,
                            double momentum, double eps, const MaybeTensor& skip, bool relu) {
    const auto result = run_forward(x, {weight, bias, running_mean, running_var, momentum, eps}, skip, relu);
    context->save_for_backward({relu ? result.y : at::Tensor(), x, result.statistics, weight});
    context->saved_data["skips"] = skip.has_value();
    return result.y;
  }

  static variable_list backward(AutogradContext* context, variable_list outputs) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "dino::batch_norm has no second derivative");
    const auto saved = context->get_saved_variables();
    const at::Tensor &y = saved[0], &x = saved[1], &statistics = saved[2], &weight = saved[3];
    const at::Tensor upstream = outputs[0].to(x.scalar_type()).contiguous(layout_of(x));
    const bool skips = context->saved_data["skips"].toBool();
    const Backward result = x.scalar_type() == at::kFloat
                                ? backward_as<float>(upstream, y, x, statistics, weight, skips)
                                : backward_as<uint16_t>(upstream, y, x, statistics, weight, skips);
    return {result.x, result.weight, result.bias, {}, {}, {}, {}, result.skip, {}};
  }
};

// Whether our own loops apply: float32 or bfloat16 on the CPU, channel beside channel, and as many of each parameter. libtorch's
// operators take what else there is, or say what is wrong with it.
bool has_channels(const at::Tensor& x, const Parameters& norm, const MaybeTensor& skip) {
  const auto type = x.scalar_type();
  if (!x.is_cpu() || (type != at::kFloat && type != at::kBFloat16) || (x.dim() != 2 && x.dim() != 4)) return false;
  if (x.numel() == 0 || !x.is_contiguous(layout_of(x))) return false;
  const int64_t n = x.size(1);
  if (!is_row(norm.weight, n) || !is_row(norm.bias, n)) return false;
  if (norm.running_mean.has_value() != norm.running_var.has_value()) return false;
  if (norm.running_mean && (!is_row(*norm.running_mean, n) || !is_row(*norm.running_var, n))) return false;
  return !skip || (skip->is_cpu() && skip->scalar_type() == type && skip->sizes() == x.sizes() &&
                   skip->is_contiguous(layout_of(x)));
}

at::Tensor batch_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                      const MaybeTensor& running_mean, const MaybeTensor& running_var, double momentum, double eps,
                      const MaybeTensor& skip, bool relu) {
  const Parameters norm{weight, bias, running_mean, running_var, momentum, eps};
  if (!has_channels(x, norm, skip)) {
    const at::Tensor y = at::batch_norm(x, weight, bias, running_mean, running_var, true, momentum, eps, true);
    const at::Tensor sum = skip ? y + *skip : y;
    return relu ? at::relu(sum) : sum;
  }
  const bool needs = needs_gradient({x, weight, bias}) || (skip && needs_gradient({*skip}));
  if (!needs) return run_forward(x, norm, skip, relu).y;
  return BatchNorm::apply(x, weight, bias, running_mean, running_var, momentum, eps, skip, relu);
}

}  // namespace
}  // namespace dino::batch_norm

TORCH_LIBRARY_FRAGMENT(dino, library) {
  library.def(
      "batch_norm(Tensor x, Tensor weight, Tensor bias, Tensor? running_mean, Tensor? running_var, float momentum, "
      "float eps, Tensor? skip, bool relu) -> Tensor");
}
TORCH_LIBRARY_IMPL(dino, CompositeImplicitAutograd, library) {
  library.impl("batch_norm", dino::batch_norm::batch_norm);
}
