// Gradients, gradient and inference mode, autocast.
#include "handle.h"
#include "precision.h"

#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/autograd/autograd.h>

#include <memory>
#include <vector>

namespace dino {

namespace {

// The inference mode guards that JavaScript has entered but not left; each restores the previous mode.
thread_local std::vector<std::unique_ptr<c10::InferenceMode>> inference_guards;

std::vector<at::Tensor> tensor_list(const Napi::Value& value) {
  auto array = value.As<Napi::Array>();
  std::vector<at::Tensor> tensors;
  for (uint32_t i = 0; i < array.Length(); i++) {
    Napi::Value entry = array.Get(i);
    tensors.push_back(entry.IsNull() ? at::Tensor() : unwrap_tensor(entry));
  }
  return tensors;
}

// backward(tensors, gradients or nulls, retainGraph): adds into .grad of the leaves.
void backward(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  DINO_TRY
  const PrecisionTurn turn;
  torch::autograd::backward(tensor_list(info[0]), tensor_list(info[1]), info[2].As<Napi::Boolean>().Value());
  DINO_CATCH(env)
}

// gradients(outputs, inputs, gradients or nulls, retainGraph, createGraph) -> tensors or nulls
Napi::Value gradients(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  DINO_TRY
  const PrecisionTurn turn;
  auto grads = torch::autograd::grad(tensor_list(info[0]), tensor_list(info[1]), tensor_list(info[2]),
                                     info[3].As<Napi::Boolean>().Value(), info[4].As<Napi::Boolean>().Value(),
                                     /*allow_unused=*/true);
  auto array = Napi::Array::New(env, grads.size());
  for (size_t i = 0; i < grads.size(); i++) array.Set(i, wrap_tensor(env, grads[i]));
  return array;
  DINO_CATCH(env)
}

Napi::Value get_grad(const Napi::CallbackInfo& info) {
  DINO_TRY
  return wrap_tensor(info.Env(), unwrap_tensor(info[0]).grad());
  DINO_CATCH(info.Env())
}

void set_grad(const Napi::CallbackInfo& info) {
  DINO_TRY
  unwrap_tensor(info[0]).mutable_grad() = info[1].IsNull() ? at::Tensor() : unwrap_tensor(info[1]);
  DINO_CATCH(info.Env())
}

Napi::Value requires_grad(const Napi::CallbackInfo& info) {
  DINO_TRY
  return Napi::Boolean::New(info.Env(), unwrap_tensor(info[0]).requires_grad());
  DINO_CATCH(info.Env())
}

void set_requires_grad(const Napi::CallbackInfo& info) {
  DINO_TRY
  unwrap_tensor(info[0]).set_requires_grad(info[1].As<Napi::Boolean>().Value());
  DINO_CATCH(info.Env())
}

Napi::Value is_leaf(const Napi::CallbackInfo& info) {
  DINO_TRY
  return Napi::Boolean::New(info.Env(), unwrap_tensor(info[0]).is_leaf());
  DINO_CATCH(info.Env())
}

// setAutocast(device type, enabled, dtype) -> the previous {enabled, dtype}, so that it can be restored
Napi::Value set_autocast(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  DINO_TRY
  auto device = parse_device(info[0].As<Napi::String>().Utf8Value()).type();
  auto before = Napi::Object::New(env);
  before.Set("enabled", at::autocast::is_autocast_enabled(device));
  before.Set("dtype", static_cast<int>(at::autocast::get_autocast_dtype(device)));
  at::autocast::set_autocast_enabled(device, info[1].As<Napi::Boolean>().Value());
  at::autocast::set_autocast_dtype(device, static_cast<at::ScalarType>(info[2].As<Napi::Number>().Int32Value()));
  return before;
  DINO_CATCH(env)
}

}  // namespace

void register_autograd(Napi::Env env, Napi::Object exports) {
  exports.Set("backward", Napi::Function::New(env, backward));
  exports.Set("gradients", Napi::Function::New(env, gradients));
  exports.Set("getGrad", Napi::Function::New(env, get_grad));
  exports.Set("setGrad", Napi::Function::New(env, set_grad));
  exports.Set("requiresGrad", Napi::Function::New(env, requires_grad));
  exports.Set("setRequiresGrad", Napi::Function::New(env, set_requires_grad));
  exports.Set("isLeaf", Napi::Function::New(env, is_leaf));
  exports.Set("setAutocast", Napi::Function::New(env, set_autocast));
  exports.Set("clearAutocastCache",
              Napi::Function::New(env, [](const Napi::CallbackInfo&) { at::autocast::clear_cache(); }));
  exports.Set("isGradEnabled", Napi::Function::New(env, [](const Napi::CallbackInfo& info) {
                return Napi::Boolean::New(info.Env(), c10::GradMode::is_enabled());
              }));
  exports.Set("setGradEnabled", Napi::Function::New(env, [](const Napi::CallbackInfo& info) {
                c10::GradMode::set_enabled(info[0].As<Napi::Boolean>().Value());
              }));
  exports.Set("enterInferenceMode", Napi::Function::New(env, [](const Napi::CallbackInfo&) {
                inference_guards.push_back(std::make_unique<c10::InferenceMode>(true));
              }));
  exports.Set("leaveInferenceMode", Napi::Function::New(env, [](const Napi::CallbackInfo&) {
                if (!inference_guards.empty()) inference_guards.pop_back();
              }));
}

}  // namespace dino
