// Batch normalization over the batches of all processes, with its gradient: torch.nn.SyncBatchNorm, which exists only on
// CUDA, built from operators that every device has. As there, statistics are merged by Chan's formula, so that the variance
// stays accurate when the mean is large.
#include "distributed.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/native_batch_norm.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/var_mean.h>
#include <torch/csrc/autograd/custom_function.h>

namespace dino {

namespace {

// Statistics are at least float32.
at::ScalarType statistics_type(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

// Every dimension except the channels.
std::vector<int64_t> other_dimensions(const at::Tensor& x) {
  std::vector<int64_t> dimensions;
  for (int64_t i = 0; i < x.dim(); i++)
    if (i != 1) dimensions.push_back(i);
  return dimensions;
}

// (C) as (1, C, 1, ...)
at::Tensor as_channels(const at::Tensor& values, const at::Tensor& like) {
  std::vector<int64_t> shape(like.dim(), 1);
  shape[1] = values.numel();
  return values.view(shape);
}

struct Statistics {
  at::Tensor mean, variance, count;  // (C), (C), ()
};

Statistics global_statistics(const Group& group, const at::Tensor& x) {
  const int64_t channels = x.size(1);
  const double count = static_cast<double>(x.numel()) / static_cast<double>(channels);
  const auto [variance, mean] = at::var_mean(x, other_dimensions(x), /*correction=*/0);
  const at::Tensor own = at::cat({mean, variance * count, at::full({1}, count, mean.options())});  // (2 C + 1)
  const int size = group->getSize();
  std::vector<std::vector<at::Tensor>> gathered(1);
  for (int i = 0; i < size; i++) gathered[0].push_back(at::empty_like(own));
  std::vector<at::Tensor> inputs = {own};
  group->allgather(gathered, inputs)->wait();
  const at::Tensor all = at::stack(gathered[0]);                                                       // (W, 2 C + 1)
  const at::Tensor counts = all.slice(1, 2 * channels);                                                // (W, 1)
  const at::Tensor means = all.slice(1, 0, channels);                                                  // (W, C)
  const at::Tensor total = counts.sum();                                                               // ()
  const at::Tensor joint = (means * counts).sum(0) / total;                                            // (C)
  const at::Tensor spread = all.slice(1, channels, 2 * channels) + counts * (means - joint).square();  // (W, C)
  return {joint, spread.sum(0) / total, total};
}

class SyncBatchNorm : public torch::autograd::Function<SyncBatchNorm> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& input,
                            const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& mean,
                            const at::Tensor& variance, const at::Tensor& count, const Group& group, double eps) {
    const auto out =
        std::get<0>(at::native_batch_norm(input, weight, bias, mean, variance, /*training=*/false, 0.0, eps));
    const at::Tensor scale = at::rsqrt(variance + eps);  // (C)
    context->save_for_backward({input, weight, mean, scale, count});
    context->saved_data["group"] = group;
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list outputs) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "synchronized batch normalization has no second derivative");
    const auto saved = context->get_saved_variables();
    const at::Tensor &input = saved[0], &weight = saved[1], &mean = saved[2], &scale = saved[3], &count = saved[4];
    const auto group = context->saved_data["group"].toCustomClass<c10d::ProcessGroup>();
    const at::Tensor upstream = outputs[0].to(mean.scalar_type());
    const at::Tensor normed = (input.to(mean.scalar_type()) - as_channels(mean, input)) * as_channels(scale, input);
    const auto dimensions = other_dimensions(input);
    const at::Tensor sum = upstream.sum(dimensions);                 // (C), the bias's gradient
    const at::Tensor product = (upstream * normed).sum(dimensions);  // (C), the weight's
    torch::autograd::variable_list result(8);
    if (context->needs_input_grad(0)) {
      // the statistics come from all processes, and so does the gradient through them
      std::vector<at::Tensor> sums = {at::stack({sum, product})};  // (2, C)
      group->allreduce(sums)->wait();
      const at::Tensor means = sums[0] / count;
      at::Tensor gradient = upstream - as_channels(means[0], input) - normed * as_channels(means[1], input);
      gradient.mul_(as_channels(scale * weight.to(mean.scalar_type()), input));
      result[0] = gradient.to(input.scalar_type());
    }
    if (context->needs_input_grad(1)) result[1] = product.to(weight.scalar_type());
    if (context->needs_input_grad(2)) result[2] = sum.to(weight.scalar_type());
    return result;
  }
};

// syncBatchNorm(group, x, weight, bias, runningMean or null, runningVar or null, momentum, eps)
Napi::Value sync_batch_norm(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  DINO_TRY
  const Group& group = unwrap_group(info[0]);
  const at::Tensor x = unwrap_tensor(info[1]);
  const at::Tensor &weight = unwrap_tensor(info[2]), &bias = unwrap_tensor(info[3]);
  // native_batch_norm reads one of each for a channel, and leaves this check to its callers
  TORCH_CHECK(
      x.dim() >= 2 && weight.dim() == 1 && bias.dim() == 1 && weight.size(0) == x.size(1) && bias.size(0) == x.size(1),
      "synchronized batch normalization of ", x.sizes(), ": the shape of its weight is ", weight.sizes(),
      ", of its bias ", bias.sizes());
  const double momentum = info[6].As<Napi::Number>().DoubleValue();
  Statistics statistics;
  {
    at::NoGradGuard no_gradient;
    statistics = global_statistics(group, x.detach().to(statistics_type(x)));
    if (!info[4].IsNull()) {
      // the running variance is unbiased, as in batch_norm
      const at::Tensor unbiased = statistics.variance * (statistics.count / (statistics.count - 1));
      unwrap_tensor(info[4]).lerp_(statistics.mean, momentum);
      unwrap_tensor(info[5]).lerp_(unbiased, momentum);
    }
  }
  return wrap_tensor(env, SyncBatchNorm::apply(x, weight, bias, statistics.mean, statistics.variance, statistics.count,
                                               group, info[7].As<Napi::Number>().DoubleValue()));
  DINO_CATCH(env)
}

}  // namespace

void register_sync_batch_norm(Napi::Env env, Napi::Object exports) {
  exports.Set("syncBatchNorm", Napi::Function::New(env, sync_batch_norm));
}

}  // namespace dino
