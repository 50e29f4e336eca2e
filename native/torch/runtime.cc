// Threads, devices, generators and versions; CUDA is opened at run time, so that one addon serves machines with and without
// it.
#include "../vectors_napi.h"
#include "distributed.h"
#include "handle.h"
#include "precision.h"
#include "random.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/cpu/Utils.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/version.h>

#include <dlfcn.h>
#include <stdlib.h>

#include <map>
#include <mutex>
#include <utility>

namespace dino {

namespace {

Napi::Value wrap_generator(Napi::Env env, at::Generator generator) {
  return Napi::External<at::Generator>::New(env, new at::Generator(std::move(generator)),
                                            [](Napi::Env, at::Generator* dead) { delete dead; });
}

at::Generator& unwrap_generator(const Napi::Value& value) {
  TORCH_CHECK(value.IsExternal(), "expected a generator");
  return *value.As<Napi::External<at::Generator>>().Data();
}

Napi::Value create_generator(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  DINO_TRY
  auto device = parse_device(info[0].As<Napi::String>().Utf8Value());
  if (device.is_cpu()) return wrap_generator(env, at::detail::createCPUGenerator());
  return wrap_generator(env, at::globalContext().defaultGenerator(device).clone());
  DINO_CATCH(env)
}

Napi::Value default_generator(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  DINO_TRY
  auto device = parse_device(info[0].As<Napi::String>().Utf8Value());
  return wrap_generator(env, generator_of_thread(device));
  DINO_CATCH(env)
}

// enterGenerators([generator, ...]): they replace the default ones in this thread, until leaveGenerators()
void enter_generators_of(const Napi::CallbackInfo& info) {
  DINO_TRY
  auto array = info[0].As<Napi::Array>();
  std::vector<at::Generator> generators;
  for (uint32_t i = 0; i < array.Length(); i++) generators.push_back(unwrap_generator(array.Get(i)));
  enter_generators(std::move(generators));
  DINO_CATCH(info.Env())
}

void seed_generator(const Napi::CallbackInfo& info) {
  DINO_TRY
  auto& generator = unwrap_generator(info[0]);
  bool lossless;
  auto seed = info[1].As<Napi::BigInt>().Uint64Value(&lossless);
  TORCH_CHECK(lossless, "a seed is a whole number from 0 to 2^64 - 1, got ", info[1].ToString().Utf8Value());
  std::lock_guard<std::mutex> lock(generator.mutex());
  generator.set_current_seed(seed);
  DINO_CATCH(info.Env())
}

Napi::Value generator_state(const Napi::CallbackInfo& info) {
  DINO_TRY
  auto& generator = unwrap_generator(info[0]);
  std::lock_guard<std::mutex> lock(generator.mutex());
  return wrap_tensor(info.Env(), generator.get_state());
  DINO_CATCH(info.Env())
}

void set_generator_state(const Napi::CallbackInfo& info) {
  DINO_TRY
  auto& generator = unwrap_generator(info[0]);
  std::lock_guard<std::mutex> lock(generator.mutex());
  generator.set_state(unwrap_tensor(info[1]));
  DINO_CATCH(info.Env())
}

// openLibrary(path) -> null, or why it could not be opened. Symbols are global: libtorch_cuda.so registers its
// kernels with the dispatcher when it is opened.
Napi::Value open_library(const Napi::CallbackInfo& info) {
  if (dlopen(info[0].As<Napi::String>().Utf8Value().c_str(), RTLD_NOW | RTLD_GLOBAL)) return info.Env().Null();
  return Napi::String::New(info.Env(), dlerror());
}

// setEnvironment(name, value): sets what libraries in this process read with getenv(). A worker thread's process.env is a
// copy that they never see. Call it before other threads read the environment.
void set_environment(const Napi::CallbackInfo& info) {
  setenv(info[0].As<Napi::String>().Utf8Value().c_str(), info[1].As<Napi::String>().Utf8Value().c_str(), 1);
}

// deviceCount(type) -> how many devices of that type libtorch sees; 0 without its backend
Napi::Value device_count(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  DINO_TRY
  auto type = parse_device(info[0].As<Napi::String>().Utf8Value()).type();
  if (type == at::kMPS) return Napi::Number::New(env, at::hasMPS() ? 1 : 0);
  if (!c10::impl::hasDeviceGuardImpl(type)) return Napi::Number::New(env, 0);
  return Napi::Number::New(env, c10::impl::getDeviceGuardImpl(type)->deviceCount());
  DINO_CATCH(env)
}

// cpuFeatures() -> {name: whether the CPU has it}, by cpuinfo's names, such as avx512_bf16
Napi::Value cpu_features(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  DINO_TRY
  auto features = Napi::Object::New(env);
  for (const auto& [name, value] : at::cpu::get_cpu_capabilities())
    if (value.isBool()) features.Set(name, value.toBool());
  return features;
  DINO_CATCH(env)
}

void synchronize(const Napi::CallbackInfo& info) {
  DINO_TRY
  auto device = parse_device(info[0].As<Napi::String>().Utf8Value());
  if (device.is_cpu()) return;
  const auto* guard = c10::impl::getDeviceGuardImpl(device.type());
  guard->synchronizeDevice(device.index() < 0 ? 0 : device.index());
  DINO_CATCH(info.Env())
}

// The device's stream for copies, one for each device; where a device has no further streams, the one that computes.
c10::Stream copy_stream(const c10::impl::DeviceGuardImplInterface* guard, c10::Device device) {
  static std::mutex mutex;
  static std::map<std::pair<c10::DeviceType, c10::DeviceIndex>, c10::Stream> streams;
  std::lock_guard<std::mutex> lock(mutex);
  const std::pair key(device.type(), device.index());
  auto found = streams.find(key);
  if (found == streams.end()) found = streams.emplace(key, guard->getStreamFromGlobalPool(device)).first;
  return found->second;
}

// upload(tensor, device): a copy of a CPU tensor on the device, by way of pinned memory and on a stream of its own, so that it
// overlaps what the device computes meanwhile. What is computed with the result waits for it on the device; the host doesn't.
// Afterwards the tensor's memory may be overwritten.
Napi::Value upload(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  DINO_TRY
  const at::Tensor& host = unwrap_tensor(info[0]);
  TORCH_CHECK(host.is_cpu(), "upload: the tensor is on ", host.device().str(), ", not on the cpu");
  const at::Tensor pinned = host.numel() == 0 ? host : host.pin_memory();
  auto device = parse_device(info[1].As<Napi::String>().Utf8Value());
  const auto* guard = c10::impl::getDeviceGuardImpl(device.type());
  if (!device.has_index()) device = guard->getDevice();
  const auto computing = guard->getStream(device);
  const auto copying = copy_stream(guard, device);
  at::Tensor there;
  {
    const c10::StreamGuard on_copy_stream(copying);
    there = pinned.to(pinned.options().device(device), /*non_blocking=*/true, /*copy=*/true);
  }
  c10::Event copied(device.type());
  copied.record(copying);
  copied.block(computing);
  // its memory belongs to the stream for copies: it is not to be reused before what is computed with it is done
  guard->recordDataPtrOnStream(there.storage().data_ptr(), computing);
  return wrap_tensor(env, there);
  DINO_CATCH(env)
}

// isIdle(device): whether it has done all that it was given in this thread
Napi::Value is_idle(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  DINO_TRY
  auto device = parse_device(info[0].As<Napi::String>().Utf8Value());
  const auto* guard = c10::impl::getDeviceGuardImpl(device.type());
  if (!device.has_index()) device = guard->getDevice();
  return Napi::Boolean::New(env, guard->queryStream(guard->getStream(device)));
  DINO_CATCH(env)
}

}  // namespace

c10::Device parse_device(const std::string& name) { return c10::Device(name); }

void register_runtime(Napi::Env env, Napi::Object exports) {
  exports.Set("createGenerator", Napi::Function::New(env, create_generator));
  exports.Set("defaultGenerator", Napi::Function::New(env, default_generator));
  exports.Set("enterGenerators", Napi::Function::New(env, enter_generators_of));
  exports.Set("leaveGenerators", Napi::Function::New(env, [](const Napi::CallbackInfo&) { leave_generators(); }));
  exports.Set("seedGenerator", Napi::Function::New(env, seed_generator));
  exports.Set("generatorState", Napi::Function::New(env, generator_state));
  exports.Set("setGeneratorState", Napi::Function::New(env, set_generator_state));
  exports.Set("openLibrary", Napi::Function::New(env, open_library));
  exports.Set("setEnvironment", Napi::Function::New(env, set_environment));
  exports.Set("deviceCount", Napi::Function::New(env, device_count));
  exports.Set("synchronize", Napi::Function::New(env, synchronize));
  exports.Set("upload", Napi::Function::New(env, upload));
  exports.Set("isIdle", Napi::Function::New(env, is_idle));
  exports.Set("version", Napi::String::New(env, TORCH_VERSION));
  exports.Set("allowBf16Products", Napi::Function::New(env, [](const Napi::CallbackInfo& info) {
                return Napi::Boolean::New(info.Env(), allow_bf16_products(info[0].As<Napi::Boolean>().Value()));
              }));
  exports.Set("cpuFeatures", Napi::Function::New(env, cpu_features));
  exports.Set("cpuCapability", Napi::Function::New(env, [](const Napi::CallbackInfo& info) {
                return Napi::String::New(info.Env(), at::get_cpu_capability());
              }));
  exports.Set("getNumThreads", Napi::Function::New(env, [](const Napi::CallbackInfo& info) {
                return Napi::Number::New(info.Env(), at::get_num_threads());
              }));
  exports.Set("setNumThreads", Napi::Function::New(env, [](const Napi::CallbackInfo& info) {
                at::set_num_threads(info[0].As<Napi::Number>().Int32Value());
              }));
}

}  // namespace dino

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  export_vectors(env, exports);
  static std::once_flag once;
  std::call_once(once, dino::use_arena);
  dino::register_tensor(env, exports);
  dino::register_dispatch(env, exports);
  dino::register_autograd(env, exports);
  dino::register_runtime(env, exports);
  dino::register_process_group(env, exports);
  dino::register_reducer(env, exports);
  dino::register_sync_batch_norm(env, exports);
  return exports;
}

NODE_API_MODULE(torch, init)
