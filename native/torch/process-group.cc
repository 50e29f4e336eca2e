// Stores, process groups and collectives of c10d. Gloo is part of libtorch_cpu. What may block runs on a separate thread
// and settles a promise. It never runs on libuv's threads, which decode images, and where a thread that waits for a lost
// process would keep Node from exiting.
#define USE_C10D_GLOO
#include "distributed.h"
#include "include/gloo/context.h"

#include <c10/util/Logging.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/distributed/c10d/FileStore.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <torch/csrc/distributed/c10d/comm.hpp>

#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <system_error>
#include <thread>

namespace dino {

namespace {

using Store = c10::intrusive_ptr<c10d::Store>;
using Work = c10::intrusive_ptr<c10d::Work>;
using Milliseconds = std::chrono::milliseconds;

// Handles of stores and groups are closed explicitly, not garbage-collected: a group's destructor waits for pending
// collectives, for minutes when a process is lost, and the garbage collector's finalizers run when Node exits.
template <typename T>
Napi::Value wrap(Napi::Env env, T value) {
  return Napi::External<T>::New(env, new T(std::move(value)));
}

template <typename T>
T& unwrap(const Napi::Value& value, const char* what) {
  TORCH_CHECK(value.IsExternal(), "expected a ", what);
  T& held = *value.As<Napi::External<T>>().Data();
  TORCH_CHECK(held, "this ", what, " was closed");
  return held;
}

Store& unwrap_store(const Napi::Value& value) { return unwrap<Store>(value, "store"); }

template <typename T>
void close(const Napi::CallbackInfo& info) {
  DINO_TRY
  *info[0].As<Napi::External<T>>().Data() = T();
  DINO_CATCH(info.Env())
}

std::string text(const Napi::Value& value) { return value.As<Napi::String>().Utf8Value(); }
Milliseconds milliseconds(const Napi::Value& value) { return Milliseconds(value.As<Napi::Number>().Int64Value()); }

std::vector<std::string> text_list(const Napi::Value& value) {
  auto array = value.As<Napi::Array>();
  std::vector<std::string> list;
  for (uint32_t i = 0; i < array.Length(); i++) list.push_back(text(array.Get(i)));
  return list;
}

std::vector<uint8_t> bytes(const std::string& value) { return {value.begin(), value.end()}; }
std::string string_of(const std::vector<uint8_t>& value) { return {value.begin(), value.end()}; }

using Result = std::function<Napi::Value(Napi::Env)>;

// Runs `work` on a separate thread. The function that it returns is called on JavaScript's thread, and its result settles
// the promise.
Napi::Value on_own_thread(Napi::Env env, std::function<Result()> work) {
  auto deferred = Napi::Promise::Deferred::New(env);
  auto nothing = Napi::Function::New(env, [](const Napi::CallbackInfo&) {});
  auto back = Napi::ThreadSafeFunction::New(env, nothing, "dino-distributed", 0, 1);
  std::thread([deferred, back, work = std::move(work)]() mutable {
    Result result;
    Problem problem;
    try {
      result = work();
    } catch (...) {
      problem = describe(std::current_exception());
    }
    back.BlockingCall([deferred, result = std::move(result), problem](Napi::Env env, Napi::Function) {
      Napi::HandleScope scope(env);
      if (result) {
        deferred.Resolve(result(env));
      } else {
        deferred.Reject(to_error(env, problem).Value());
      }
    });
    back.Release();
  }).detach();
  return deferred.Promise();
}

Napi::Value undefined(Napi::Env env) { return env.Undefined(); }

// ---------------------------------------------------------------------------------------------------------- stores

// When a store is gone, c10d logs this to stderr with a stack trace, and then throws an error, which is enough. Its log has
// one level for the whole process; it is raised above warnings while a request is pending.
class WithoutWarnings {
 public:
  WithoutWarnings() {
    std::lock_guard<std::mutex> lock(mutex());
    if (counts().holders++ > 0) return;
    counts().level = FLAGS_caffe2_log_level;
    const char* debug = std::getenv("DEBUG");
    if (!debug || std::string(debug) != "dino") FLAGS_caffe2_log_level = std::max(FLAGS_caffe2_log_level, kErrors);
  }
  ~WithoutWarnings() {
    std::lock_guard<std::mutex> lock(mutex());
    if (--counts().holders == 0) FLAGS_caffe2_log_level = counts().level;
  }

 private:
  static constexpr int kErrors = 2;
  struct Counts {
    int holders = 0, level = 0;
  };
  static std::mutex& mutex() {
    static std::mutex one;
    return one;
  }
  static Counts& counts() {
    static Counts one;
    return one;
  }
};

// A socket that listens only on 127.0.0.1; c10d's own listens on all interfaces.
int listen_on_loopback(uint16_t port) {
  const auto check = [&](bool is_good) {
    if (!is_good) throw std::system_error(errno, std::generic_category(), "port " + std::to_string(port));
  };
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  check(fd >= 0);
  const int yes = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  check(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  check(::listen(fd, SOMAXCONN) == 0);
  return fd;
}

// tcpStore(host, port, isServer, timeout, isLocal) -> promise of a store. It doesn't wait for other processes; a local
// server can be reached only from this machine.
Napi::Value tcp_store(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  DINO_TRY
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(info[1].As<Napi::Number>().Uint32Value());
  options.isServer = info[2].As<Napi::Boolean>().Value();
  options.waitWorkers = false;
  options.timeout = milliseconds(info[3]);
  const bool is_local = info[4].As<Napi::Boolean>().Value();
  return on_own_thread(env, [host = text(info[0]), options, is_local]() mutable -> Result {
    if (options.isServer && is_local) options.masterListenFd = listen_on_loopback(options.port);
    Store store = c10::make_intrusive<c10d::TCPStore>(host, options);
    return [store](Napi::Env env) { return wrap(env, store); };
  });
  DINO_CATCH(env)
}

Napi::Value file_store(const Napi::CallbackInfo& info) {
  DINO_TRY
  Store store = c10::make_intrusive<c10d::FileStore>(text(info[0]), info[1].As<Napi::Number>().Int32Value());
  return wrap(info.Env(), store);
  DINO_CATCH(info.Env())
}

Napi::Value prefix_store(const Napi::CallbackInfo& info) {
  DINO_TRY
  Store store = c10::make_intrusive<c10d::PrefixStore>(text(info[0]), unwrap_store(info[1]));
  return wrap(info.Env(), store);
  DINO_CATCH(info.Env())
}

Napi::Value store_set(const Napi::CallbackInfo& info) {
  DINO_TRY
  return on_own_thread(info.Env(),
                       [store = unwrap_store(info[0]), key = text(info[1]), value = text(info[2])]() -> Result {
                         WithoutWarnings quiet;
                         store->set(key, bytes(value));
                         return undefined;
                       });
  DINO_CATCH(info.Env())
}

// storeGet(store, key, timeout) -> promise of the value, once a process has set it
Napi::Value store_get(const Napi::CallbackInfo& info) {
  DINO_TRY
  return on_own_thread(
      info.Env(), [store = unwrap_store(info[0]), key = text(info[1]), timeout = milliseconds(info[2])]() -> Result {
        WithoutWarnings quiet;
        store->wait({key}, timeout);
        auto value = string_of(store->get(key));
        return [value](Napi::Env env) { return Napi::String::New(env, value); };
      });
  DINO_CATCH(info.Env())
}

Napi::Value store_add(const Napi::CallbackInfo& info) {
  DINO_TRY
  return on_own_thread(info.Env(),
                       [store = unwrap_store(info[0]), key = text(info[1]),
                        amount = info[2].As<Napi::Number>().Int64Value()]() -> Result {
                         WithoutWarnings quiet;
                         auto sum = static_cast<double>(store->add(key, amount));
                         return [sum](Napi::Env env) { return Napi::Number::New(env, sum); };
                       });
  DINO_CATCH(info.Env())
}

// storeCheck(store, keys) -> promise of a list of booleans: which of the keys are set
Napi::Value store_check(const Napi::CallbackInfo& info) {
  DINO_TRY
  return on_own_thread(info.Env(), [store = unwrap_store(info[0]), keys = text_list(info[1])]() -> Result {
    WithoutWarnings quiet;
    std::vector<bool> found;
    if (store->check(keys)) {
      found.assign(keys.size(), true);
    } else {
      for (const auto& key : keys) found.push_back(store->check({key}));
    }
    return [found](Napi::Env env) -> Napi::Value {
      auto array = Napi::Array::New(env, found.size());
      for (size_t i = 0; i < found.size(); i++) array.Set(i, Napi::Boolean::New(env, found[i]));
      return array;
    };
  });
  DINO_CATCH(info.Env())
}

// ------------------------------------------------------------------------------------------------------- heartbeat

// Reports in the store, every `interval` and after each step, that this process is alive and how many steps it has done. It
// does so from a separate thread, because JavaScript's thread is busy during a step. It also keeps the news that another
// process left in the store, because by the time it is needed the store may be gone.
struct Heartbeat {
  std::mutex mutex;
  std::condition_variable changed;
  bool stop = false;
  int64_t step = 0;
  std::string news;
};
using HeartbeatHandle = std::shared_ptr<Heartbeat>;

// startHeartbeat(store, key, step, interval, newsKey): the value of `key` is "<beats> <step>"
Napi::Value start_heartbeat(const Napi::CallbackInfo& info) {
  DINO_TRY
  auto heart = std::make_shared<Heartbeat>();
  heart->step = info[2].As<Napi::Number>().Int64Value();
  // a separate connection: a store handles one request at a time, and some requests wait
  std::thread([heart, store = unwrap_store(info[0])->clone(), key = text(info[1]), interval = milliseconds(info[3]),
               news_key = text(info[4])] {
    try {
      std::unique_lock<std::mutex> lock(heart->mutex);
      for (int64_t beats = 0; !heart->stop; beats++) {
        const int64_t step = heart->step;
        std::string news = heart->news;
        lock.unlock();
        {
          WithoutWarnings quiet;
          store->set(key, bytes(std::to_string(beats) + " " + std::to_string(step)));
          if (news.empty() && store->check({news_key})) news = string_of(store->get(news_key));
        }
        lock.lock();
        heart->news = news;
        heart->changed.wait_for(lock, interval, [&] { return heart->stop || heart->step != step; });
      }
    } catch (const std::exception&) {
      // the store is gone, so there is no one left to report to
    }
  }).detach();
  return wrap(info.Env(), heart);
  DINO_CATCH(info.Env())
}

// heartbeatNews(heartbeat) -> the news, or null
Napi::Value heartbeat_news(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  DINO_TRY
  auto heart = unwrap<HeartbeatHandle>(info[0], "heartbeat");
  std::lock_guard<std::mutex> lock(heart->mutex);
  return heart->news.empty() ? env.Null() : Napi::Value(Napi::String::New(env, heart->news));
  DINO_CATCH(env)
}

void set_heartbeat_step(const Napi::CallbackInfo& info) {
  DINO_TRY
  auto heart = unwrap<HeartbeatHandle>(info[0], "heartbeat");
  std::lock_guard<std::mutex> lock(heart->mutex);
  heart->step = info[1].As<Napi::Number>().Int64Value();
  heart->changed.notify_all();
  DINO_CATCH(info.Env())
}

void stop_heartbeat(const Napi::CallbackInfo& info) {
  DINO_TRY
  auto heart = unwrap<HeartbeatHandle>(info[0], "heartbeat");
  std::lock_guard<std::mutex> lock(heart->mutex);
  heart->stop = true;
  heart->changed.notify_all();
  DINO_CATCH(info.Env())
}

// ---------------------------------------------------------------------------------------------------------- groups

// The NCCL group of libtorch_cuda, which must be open by now. Its header needs those of CUDA and NCCL, which a CPU build
// doesn't have. So two constructors are looked up by their mangled names (Itanium C++ ABI) and given more memory than they
// need, because only the header knows the size. Both are known only for one version of libtorch, so any other is refused.
c10::intrusive_ptr<c10d::Backend> nccl_backend(const Store& store, int rank, int size, Milliseconds timeout) {
  using Options = c10::intrusive_ptr<c10d::Backend::Options>;
  constexpr size_t kOptionsBytes = 16 << 10, kGroupBytes = 256 << 10;
  const uint64_t loaded = aoti_torch_abi_version();  // major, minor and patch in a byte each, the highest first
  const std::string version = std::to_string(loaded >> 56) + "." + std::to_string(loaded >> 48 & 255) + "." +
                              std::to_string(loaded >> 40 & 255);
  TORCH_CHECK(version == DINO_TORCH_VERSION, "NCCL can only be used with libtorch ", DINO_TORCH_VERSION,
              ", but the loaded one is ", version, ": set LIBTORCH to that version and run `npm run setup`");
  auto* make_options =
      reinterpret_cast<void (*)(void*, bool)>(dlsym(RTLD_DEFAULT, "_ZN4c10d16ProcessGroupNCCL7OptionsC1Eb"));
  auto* make_group = reinterpret_cast<void (*)(void*, Store, int, int, Options)>(
      dlsym(RTLD_DEFAULT,
            "_ZN4c10d16ProcessGroupNCCLC1EN3c1013intrusive_ptrINS_5StoreENS1_6detail34intrusive_target_default_null_"
            "typeIS3_EEEEiiNS2_INS0_7OptionsENS5_IS8_EEEE"));
  TORCH_CHECK(make_options && make_group, "this libtorch_cuda has no callable NCCL process group");
  void* options_memory = ::operator new(kOptionsBytes);
  make_options(options_memory, false);
  auto options = Options::unsafe_steal_from_new(static_cast<c10d::Backend::Options*>(options_memory));
  options->timeout = timeout;
  void* group_memory = ::operator new(kGroupBytes);
  make_group(group_memory, store, rank, size, options);
  return c10::intrusive_ptr<c10d::Backend>::unsafe_steal_from_new(static_cast<c10d::Backend*>(group_memory));
}

// createGroup(store, rank, size, address, timeout, withNccl) -> promise of a group whose members are all connected: Gloo
// for CPU tensors, for CUDA tensors NCCL, or Gloo through host memory, for those of other devices host-backend.cc. `address` is the one at which the others reach
// this machine, or "interface:" followed by the name of a network interface.
Napi::Value create_group(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  DINO_TRY
  const int rank = info[1].As<Napi::Number>().Int32Value();
  const int size = info[2].As<Napi::Number>().Int32Value();
  return on_own_thread(env,
                       [store = unwrap_store(info[0]), rank, size, address = text(info[3]),
                        timeout = milliseconds(info[4]), with_nccl = info[5].As<Napi::Boolean>().Value()]() -> Result {
                         auto options = c10d::ProcessGroupGloo::Options::create(timeout);
                         const std::string interface = "interface:";
                         options->devices.push_back(
                             address.starts_with(interface)
                                 ? c10d::ProcessGroupGloo::createDeviceForInterface(address.substr(interface.size()))
                                 : c10d::ProcessGroupGloo::createDeviceForHostname(address));
                         store->setTimeout(timeout);
                         auto gloo = c10::make_intrusive<c10d::ProcessGroupGloo>(store, rank, size, options);
                         auto group = c10::make_intrusive<c10d::ProcessGroup>(store, rank, size);
                         group->setBackend(c10::DeviceType::CPU, c10d::ProcessGroup::BackendType::GLOO, gloo);
                         if (with_nccl) {
                           Store own = c10::make_intrusive<c10d::PrefixStore>("nccl", store);
                           group->setBackend(c10::DeviceType::CUDA, c10d::ProcessGroup::BackendType::NCCL,
                                             nccl_backend(own, rank, size, timeout));
                         } else {
                           group->setBackend(c10::DeviceType::CUDA, c10d::ProcessGroup::BackendType::GLOO, gloo);
                         }
                         group->setBackend(c10::DeviceType::PrivateUse1, c10d::ProcessGroup::BackendType::CUSTOM,
                                           host_backend(gloo, rank, size));
                         group->setDefaultBackend(c10d::ProcessGroup::BackendType::GLOO);
                         return [group](Napi::Env env) { return wrap(env, group); };
                       });
  DINO_CATCH(env)
}

// Each collective returns a handle to the pending work, for waitWork or workDone.
Napi::Value start(Napi::Env env, Work work) {
  auto* held = new Work(std::move(work));
  return Napi::External<Work>::New(env, held, [](Napi::Env, Work* dead) { delete dead; });
}

// allReduce(group, tensor): the sum over the processes, in place
Napi::Value all_reduce(const Napi::CallbackInfo& info) {
  DINO_TRY
  std::vector<at::Tensor> tensors = {unwrap_tensor(info[1])};
  at::AutoDispatchBelowAutograd no_gradient;
  return start(info.Env(), unwrap_group(info[0])->allreduce(tensors));
  DINO_CATCH(info.Env())
}

// allGather(group, outputs, input): the inputs of all processes, by rank
Napi::Value all_gather(const Napi::CallbackInfo& info) {
  DINO_TRY
  std::vector<std::vector<at::Tensor>> outputs = {unwrap_tensors(info[1])};
  std::vector<at::Tensor> inputs = {unwrap_tensor(info[2])};
  at::AutoDispatchBelowAutograd no_gradient;
  return start(info.Env(), unwrap_group(info[0])->allgather(outputs, inputs));
  DINO_CATCH(info.Env())
}

// broadcast(group, tensors, root) -> promise: the root's values, in place, in buffers of 25 MB
Napi::Value broadcast(const Napi::CallbackInfo& info) {
  DINO_TRY
  return on_own_thread(info.Env(),
                       [group = unwrap_group(info[0]), tensors = unwrap_tensors(info[1]),
                        root = info[2].As<Napi::Number>().Int32Value()]() -> Result {
                         at::AutoDispatchBelowAutograd no_gradient;
                         c10d::broadcast_coalesced(group, tensors, 25 << 20, root);
                         return undefined;
                       });
  DINO_CATCH(info.Env())
}

Napi::Value barrier(const Napi::CallbackInfo& info) {
  DINO_TRY
  return start(info.Env(), unwrap_group(info[0])->barrier());
  DINO_CATCH(info.Env())
}

void wait_work(const Napi::CallbackInfo& info) {
  DINO_TRY
  unwrap<Work>(info[0], "work")->wait();
  DINO_CATCH(info.Env())
}

Napi::Value work_done(const Napi::CallbackInfo& info) {
  DINO_TRY
  return on_own_thread(info.Env(), [work = unwrap<Work>(info[0], "work")]() -> Result {
    work->wait();
    return undefined;
  });
  DINO_CATCH(info.Env())
}

}  // namespace

Group& unwrap_group(const Napi::Value& value) { return unwrap<Group>(value, "process group"); }

std::vector<at::Tensor> unwrap_tensors(const Napi::Value& value) {
  auto array = value.As<Napi::Array>();
  std::vector<at::Tensor> tensors;
  for (uint32_t i = 0; i < array.Length(); i++) tensors.push_back(unwrap_tensor(array.Get(i)));
  return tensors;
}

void register_process_group(Napi::Env env, Napi::Object exports) {
  exports.Set("tcpStore", Napi::Function::New(env, tcp_store));
  exports.Set("fileStore", Napi::Function::New(env, file_store));
  exports.Set("prefixStore", Napi::Function::New(env, prefix_store));
  exports.Set("storeSet", Napi::Function::New(env, store_set));
  exports.Set("storeGet", Napi::Function::New(env, store_get));
  exports.Set("storeAdd", Napi::Function::New(env, store_add));
  exports.Set("storeCheck", Napi::Function::New(env, store_check));
  exports.Set("closeStore", Napi::Function::New(env, close<Store>));
  exports.Set("startHeartbeat", Napi::Function::New(env, start_heartbeat));
  exports.Set("heartbeatNews", Napi::Function::New(env, heartbeat_news));
  exports.Set("setHeartbeatStep", Napi::Function::New(env, set_heartbeat_step));
  exports.Set("stopHeartbeat", Napi::Function::New(env, stop_heartbeat));
  exports.Set("createGroup", Napi::Function::New(env, create_group));
  exports.Set("closeGroup", Napi::Function::New(env, close<Group>));
  exports.Set("allReduce", Napi::Function::New(env, all_reduce));
  exports.Set("allGather", Napi::Function::New(env, all_gather));
  exports.Set("broadcast", Napi::Function::New(env, broadcast));
  exports.Set("barrier", Napi::Function::New(env, barrier));
  exports.Set("waitWork", Napi::Function::New(env, wait_work));
  // Skips destructors: those of groups and of libtorch wait for threads that may be waiting for a lost process.
  exports.Set("exitNow", Napi::Function::New(env, [](const Napi::CallbackInfo& info) {
                _exit(info[0].As<Napi::Number>().Int32Value());
              }));
  exports.Set("workDone", Napi::Function::New(env, work_done));
}

}  // namespace dino
