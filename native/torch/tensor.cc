// Tensor handles, their metadata, and sharing memory between JavaScript's typed arrays and tensors without copies.
#include "handle.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <atomic>
#include <mutex>
#include <vector>

namespace dino {

namespace {

std::atomic<int64_t> live_count = 0;

void release(Napi::Env env, TensorBox* box) {
  if (!box->tensor.defined()) return;
  box->tensor = at::Tensor();
  live_count--;
  if (box->external_bytes > 0) Napi::MemoryManagement::AdjustExternalMemory(env, -box->external_bytes);
  box->external_bytes = 0;
}

// References to the typed arrays that from_blob tensors use. The last tensor over one may be destroyed on any thread, but a
// reference must be deleted on JavaScript's thread, so dead ones are queued and deleted at the next call.
struct BufferReferences {
  std::mutex mutex;
  std::vector<Napi::Reference<Napi::Value>*> dead;

  void drop() {
    std::vector<Napi::Reference<Napi::Value>*> taken;
    {
      std::lock_guard<std::mutex> lock(mutex);
      taken.swap(dead);
    }
    for (auto* reference : taken) delete reference;
  }
};

// One for each JavaScript thread, never freed: a tensor may outlive the thread that made it.
BufferReferences* buffer_references() {
  thread_local auto* references = new BufferReferences();
  return references;
}

Napi::Value from_buffer(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  DINO_TRY
  buffer_references()->drop();
  auto array = info[0].As<Napi::TypedArray>();
  auto shape = info[1].As<Napi::Array>();
  auto dtype = static_cast<at::ScalarType>(info[2].As<Napi::Number>().Int32Value());
  std::vector<int64_t> sizes;
  for (uint32_t i = 0; i < shape.Length(); i++) sizes.push_back(shape.Get(i).As<Napi::Number>().Int64Value());

  // napi_get_typedarray_info gives the address in an ArrayBuffer as well as in a SharedArrayBuffer
  napi_typedarray_type type;
  size_t length;
  void* data;
  napi_value buffer;
  size_t offset;
  if (napi_get_typedarray_info(env, array, &type, &length, &data, &buffer, &offset) != napi_ok) {
    throw Napi::Error::New(env, "the array's memory can't be read");
  }
  auto* reference = new Napi::Reference<Napi::Value>(Napi::Reference<Napi::Value>::New(array, 1));
  auto deleter = [reference, references = buffer_references()](void*) {
    std::lock_guard<std::mutex> lock(references->mutex);
    references->dead.push_back(reference);
  };
  // an empty array has no address, and from_blob would never call the deleter
  if (length == 0) {
    delete reference;
    return wrap_tensor(env, at::empty(sizes, at::TensorOptions().dtype(dtype)));
  }
  return wrap_tensor(env, at::from_blob(data, sizes, deleter, at::TensorOptions().dtype(dtype)));
  DINO_CATCH(env)
}

// An ArrayBuffer over the memory of a contiguous CPU tensor; it keeps the memory alive by itself.
Napi::Value data_buffer(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  DINO_TRY
  at::Tensor& tensor = unwrap_tensor(info[0]);
  TORCH_CHECK(tensor.device().is_cpu(), "the tensor is on ", tensor.device().str(), ", not on the cpu");
  TORCH_CHECK(tensor.is_contiguous(), "the tensor is not contiguous");
  if (tensor.numel() == 0) return Napi::ArrayBuffer::New(env, 0);
  auto* owner = new at::Tensor(tensor.detach());
  return Napi::ArrayBuffer::New(
      env, tensor.data_ptr(), tensor.nbytes(), [](Napi::Env, void*, at::Tensor* kept) { delete kept; }, owner);
  DINO_CATCH(env)
}

Napi::Value tensor_shape(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  DINO_TRY
  at::Tensor& tensor = unwrap_tensor(info[0]);
  auto sizes = tensor.sizes();
  auto array = Napi::Array::New(env, sizes.size());
  for (size_t i = 0; i < sizes.size(); i++) array.Set(i, Napi::Number::New(env, static_cast<double>(sizes[i])));
  return array;
  DINO_CATCH(env)
}

Napi::Value tensor_strides(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  DINO_TRY
  auto strides = unwrap_tensor(info[0]).strides();
  auto array = Napi::Array::New(env, strides.size());
  for (size_t i = 0; i < strides.size(); i++) array.Set(i, Napi::Number::New(env, static_cast<double>(strides[i])));
  return array;
  DINO_CATCH(env)
}

Napi::Value tensor_dtype(const Napi::CallbackInfo& info) {
  DINO_TRY
  return Napi::Number::New(info.Env(), static_cast<int>(unwrap_tensor(info[0]).scalar_type()));
  DINO_CATCH(info.Env())
}

Napi::Value tensor_device(const Napi::CallbackInfo& info) {
  DINO_TRY
  return Napi::String::New(info.Env(), unwrap_tensor(info[0]).device().str());
  DINO_CATCH(info.Env())
}

Napi::Value tensor_item(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  DINO_TRY
  auto scalar = unwrap_tensor(info[0]).item();
  if (scalar.isBoolean()) return Napi::Boolean::New(env, scalar.toBool());
  return Napi::Number::New(env, scalar.toDouble());
  DINO_CATCH(env)
}

Napi::Value tensor_is_contiguous(const Napi::CallbackInfo& info) {
  DINO_TRY
  return Napi::Boolean::New(info.Env(), unwrap_tensor(info[0]).is_contiguous());
  DINO_CATCH(info.Env())
}

Napi::Value tensor_is_disposed(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), !info[0].As<Napi::External<TensorBox>>().Data()->tensor.defined());
}

}  // namespace

int64_t live_tensors() { return live_count; }

Napi::Value wrap_tensor(Napi::Env env, at::Tensor tensor) {
  if (!tensor.defined()) return env.Null();
  auto* box = new TensorBox{std::move(tensor)};
  live_count++;
  // a view shares its base's memory: counting it again would only trigger needless garbage collections
  if (box->tensor.device().is_cpu() && !box->tensor.is_view()) {
    box->external_bytes = static_cast<int64_t>(box->tensor.nbytes());
    Napi::MemoryManagement::AdjustExternalMemory(env, box->external_bytes);
  }
  return Napi::External<TensorBox>::New(env, box, [](Napi::Env finalizer_env, TensorBox* dead) {
    release(finalizer_env, dead);
    delete dead;
  });
}

at::Tensor& unwrap_tensor(const Napi::Value& value) {
  TORCH_CHECK(value.IsExternal(), "expected a tensor");
  auto* box = value.As<Napi::External<TensorBox>>().Data();
  TORCH_CHECK(box->tensor.defined(), "this tensor was disposed of (by dispose(), `using` or the end of a scope())");
  return box->tensor;
}

void dispose_tensor(const Napi::CallbackInfo& info) {
  release(info.Env(), info[0].As<Napi::External<TensorBox>>().Data());
  buffer_references()->drop();
}

void register_tensor(Napi::Env env, Napi::Object exports) {
  exports.Set("fromBuffer", Napi::Function::New(env, from_buffer));
  exports.Set("dataBuffer", Napi::Function::New(env, data_buffer));
  exports.Set("shape", Napi::Function::New(env, tensor_shape));
  exports.Set("strides", Napi::Function::New(env, tensor_strides));
  exports.Set("dtype", Napi::Function::New(env, tensor_dtype));
  exports.Set("device", Napi::Function::New(env, tensor_device));
  exports.Set("item", Napi::Function::New(env, tensor_item));
  exports.Set("isContiguous", Napi::Function::New(env, tensor_is_contiguous));
  exports.Set("isDisposed", Napi::Function::New(env, tensor_is_disposed));
  exports.Set("dispose", Napi::Function::New(env, dispose_tensor));
  exports.Set("liveTensors", Napi::Function::New(env, [](const Napi::CallbackInfo& info) {
                return Napi::Number::New(info.Env(), static_cast<double>(live_tensors()));
              }));
}

}  // namespace dino
