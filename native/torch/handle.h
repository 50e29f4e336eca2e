// Tensor handles: a JavaScript External that owns one at::Tensor, freed by dispose() or, failing that, by the garbage
// collector.
#pragma once

#include "errors.h"

#include <ATen/core/Tensor.h>

namespace dino {

struct TensorBox {
  at::Tensor tensor;
  int64_t external_bytes = 0;
};

// Number of tensors that JavaScript holds and hasn't disposed of.
int64_t live_tensors();

Napi::Value wrap_tensor(Napi::Env env, at::Tensor tensor);
// Throws when `value` is not a tensor handle, or has been disposed of.
at::Tensor& unwrap_tensor(const Napi::Value& value);
void dispose_tensor(const Napi::CallbackInfo& info);

c10::Device parse_device(const std::string& name);

void register_dispatch(Napi::Env env, Napi::Object exports);
void register_tensor(Napi::Env env, Napi::Object exports);
void register_autograd(Napi::Env env, Napi::Object exports);
void register_runtime(Napi::Env env, Napi::Object exports);
void register_process_group(Napi::Env env, Napi::Object exports);
void register_reducer(Napi::Env env, Napi::Object exports);
void register_sync_batch_norm(Napi::Env env, Napi::Object exports);

// Makes libtorch allocate large CPU tensors from an arena (allocator.cc). Call it once per process, before the first tensor.
void use_arena();

}  // namespace dino
