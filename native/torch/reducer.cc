// Averages gradients over the processes with c10d's Reducer, the engine of DistributedDataParallel: buckets of gradients
// are sent as soon as the backward pass has filled them.
#include "distributed.h"

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/utils/lambda_post_hook.h>
#include <torch/csrc/autograd/variable.h>
#include <torch/csrc/distributed/c10d/logger.hpp>
#include <torch/csrc/distributed/c10d/reducer.hpp>

#include <algorithm>

namespace dino {

namespace {

// The reducer finishes in a callback of the autograd engine, so its hooks must be called within a backward pass; outside
// one, they are called in a backward pass over a single number.
class Within : public torch::autograd::Function<Within> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const std::function<void()>* run) {
    context->saved_data["run"] = reinterpret_cast<int64_t>(run);
    return x.clone();
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list) {
    (*reinterpret_cast<const std::function<void()>*>(context->saved_data["run"].toInt()))();
    return {at::Tensor(), at::Tensor()};
  }
};

void in_backward_pass(const std::function<void()>& run) {
  at::AutoGradMode with_gradient(true);
  torch::autograd::backward({Within::apply(at::zeros({}).set_requires_grad(true), &run)}, {at::Tensor()});
}

class GradientReducer {
 public:
  GradientReducer(std::vector<at::Tensor> parameters, Group group, int64_t bucket_bytes)
      : parameters_(std::move(parameters)), fired_(parameters_.size(), 0) {
    // like DistributedDataParallel: a small first bucket, so that the first reduction starts early, and buckets ordered
    // from the last parameter to the first, as the backward pass fills them
    auto [buckets, limits] = c10d::compute_bucket_assignment_by_size(
        parameters_, {static_cast<size_t>(c10d::kDefaultFirstBucketBytes), static_cast<size_t>(bucket_bytes)});
    std::vector<int64_t> caps(limits.rbegin(), limits.rend());
    std::reverse(buckets.begin(), buckets.end());
    // our hooks run before the reducer's, and record which gradients it has seen
    for (size_t i = 0; i < parameters_.size(); i++) {
      auto accumulator = torch::autograd::impl::grad_accumulator(parameters_[i]);
      const auto key = accumulator->add_post_hook(std::make_unique<torch::autograd::utils::LambdaPostHook>(
          [this, i](const torch::autograd::variable_list& outputs, const torch::autograd::variable_list&) {
            if (prepared_) fired_[i] = 1;
            return outputs;
          }));
      hooks_.emplace_back(accumulator, key);
    }
    reducer_ = std::make_unique<c10d::Reducer>(
        parameters_, std::move(buckets), std::move(group), std::vector<bool>(parameters_.size(), false), bucket_bytes,
        /*find_unused_parameters=*/false, /*gradient_as_bucket_view=*/true, std::unordered_map<size_t, std::string>(),
        c10d::kDefaultFirstBucketBytes, /*skip_all_reduce_unused_params=*/false, /*use_python_reducer=*/false,
        std::move(caps));
    // A reducer orders its buckets by what it saw in its first pass. So a resumed run would make its first step with
    // different buckets from an uninterrupted one, and a sum of three or more numbers depends on their order. So the first
    // pass is this one, of zeros, always in the same order.
    finish();
    reducer_->rebuild_buckets();
  }

  ~GradientReducer() {
    for (auto& [accumulator, key] : hooks_) accumulator->del_post_hook(key);
  }

  // From now on accumulated gradients are reduced as they arrive; those before were only accumulated locally.
  void prepare() {
    std::fill(fired_.begin(), fired_.end(), 0);
    reducer_->prepare_for_backward({});
    prepared_ = true;
  }

  // Afterwards every gradient is the mean over the processes. A parameter without a gradient still has none.
  void finish() {
    if (!prepared_) prepare();
    prepared_ = false;
    std::vector<size_t> missing, unused;
    for (size_t i = parameters_.size(); i-- > 0;) {
      if (fired_[i]) continue;
      missing.push_back(i);
      if (!parameters_[i].grad().defined()) unused.push_back(i);
    }
    if (!missing.empty()) {
      in_backward_pass([&] {
        for (const auto i : missing) reducer_->autograd_hook(i);
      });
    }
    for (const auto i : unused) parameters_[i].mutable_grad() = at::Tensor();
  }

 private:
  std::vector<at::Tensor> parameters_;
  std::vector<char> fired_;
  std::vector<std::pair<c10::intrusive_ptr<torch::autograd::Node>, uintptr_t>> hooks_;
  std::unique_ptr<c10d::Reducer> reducer_;
  bool prepared_ = false;
};

using Handle = std::unique_ptr<GradientReducer>;

GradientReducer& unwrap_reducer(const Napi::Value& value) {
  TORCH_CHECK(value.IsExternal(), "expected a reducer");
  auto& held = *value.As<Napi::External<Handle>>().Data();
  TORCH_CHECK(held, "this reducer was closed");
  return *held;
}

// createReducer(parameters, group, bucketBytes). Like groups, it is closed explicitly, not garbage-collected.
Napi::Value create_reducer(const Napi::CallbackInfo& info) {
  DINO_TRY
  auto reducer = std::make_unique<GradientReducer>(unwrap_tensors(info[0]), unwrap_group(info[1]),
                                                   info[2].As<Napi::Number>().Int64Value());
  return Napi::External<Handle>::New(info.Env(), new Handle(std::move(reducer)));
  DINO_CATCH(info.Env())
}

void prepare_reducer(const Napi::CallbackInfo& info) {
  DINO_TRY
  unwrap_reducer(info[0]).prepare();
  DINO_CATCH(info.Env())
}

void finish_reducer(const Napi::CallbackInfo& info) {
  DINO_TRY
  unwrap_reducer(info[0]).finish();
  DINO_CATCH(info.Env())
}

void close_reducer(const Napi::CallbackInfo& info) {
  DINO_TRY
  info[0].As<Napi::External<Handle>>().Data()->reset();
  DINO_CATCH(info.Env())
}

}  // namespace

void register_reducer(Napi::Env env, Napi::Object exports) {
  exports.Set("createReducer", Napi::Function::New(env, create_reducer));
  exports.Set("prepareReducer", Napi::Function::New(env, prepare_reducer));
  exports.Set("finishReducer", Napi::Function::New(env, finish_reducer));
  exports.Set("closeReducer", Napi::Function::New(env, close_reducer));
}

}  // namespace dino
