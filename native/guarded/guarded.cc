// A device for tests, without hardware: PyTorch's backend `privateuseone`, for devices of one's own. Its memory is closed to the
// CPU (PROT_NONE) except inside its own kernels, so whatever takes a tensor of it for one in main memory ends the process at
// the place of the mistake, as it would not on a GPU with unified addresses. Operators run on the CPU by PyTorch's own
// fallback, which copies their inputs over and their results back. It has two devices, generators of its own, and beside the
// stream that computes one for copies. It counts what a host would wait for.
//
// A plain shared library: opening it (native.openLibrary) registers everything. Nothing of the product links or loads it.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/core/Tensor.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/Allocator.h>
#include <c10/core/DeviceType.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

namespace at::autocast {
TORCH_API ScalarType get_autocast_dtype(c10::DeviceType device_type);  // autocast_mode.h includes every operator
}

namespace {

constexpr auto kGuarded = c10::DeviceType::PrivateUse1;
constexpr c10::DeviceIndex kDevices = 2;
thread_local c10::DeviceIndex current = 0;

// ---- memory

struct Block {
  size_t bytes;
  int open;
};
std::mutex blocks_mutex;
std::map<char*, Block> blocks;  // by their first byte

size_t whole_pages(size_t bytes) {
  const size_t page = sysconf(_SC_PAGESIZE);
  return std::max(page, (bytes + page - 1) / page * page);
}

// Opens the block that an address lies in while it lives; other addresses are main memory, where nothing is to be done.
class Open {
 public:
  explicit Open(const void* address) {
    std::lock_guard<std::mutex> lock(blocks_mutex);
    auto next = blocks.upper_bound(const_cast<char*>(static_cast<const char*>(address)));
    if (next == blocks.begin()) return;
    auto found = std::prev(next);
    if (static_cast<const char*>(address) >= found->first + found->second.bytes) return;
    start_ = found->first;
    if (found->second.open++ == 0) mprotect(start_, found->second.bytes, PROT_READ | PROT_WRITE);
  }
  ~Open() {
    if (start_ == nullptr) return;
    std::lock_guard<std::mutex> lock(blocks_mutex);
    auto& block = blocks.at(start_);
    if (--block.open == 0) mprotect(start_, block.bytes, PROT_NONE);
  }
  Open(const Open&) = delete;
  Open& operator=(const Open&) = delete;

 private:
  char* start_ = nullptr;
};

void release(void* address) {
  if (address == nullptr) return;
  std::lock_guard<std::mutex> lock(blocks_mutex);
  auto found = blocks.find(static_cast<char*>(address));
  munmap(address, found->second.bytes);
  blocks.erase(found);
}

struct GuardedAllocator final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    const c10::Device device(kGuarded, current);
    if (bytes == 0) return {nullptr, nullptr, &release, device};
    const size_t whole = whole_pages(bytes);
    void* address = mmap(nullptr, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    TORCH_CHECK(address != MAP_FAILED, "privateuseone: no memory for ", bytes, " bytes");
    std::lock_guard<std::mutex> lock(blocks_mutex);
    blocks[static_cast<char*>(address)] = {whole, 0};
    return {address, address, &release, device};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    Open a(to), b(from);
    std::memcpy(to, from, bytes);
  }
};
GuardedAllocator allocator;
REGISTER_ALLOCATOR(kGuarded, &allocator);

// ---- what the host waits for: values and tensors read from the device, and copies to it

std::atomic<int64_t> reads = 0, blocking_copies = 0;
thread_local int kernels = 0;  // that run in this thread: what they copy is theirs

struct Kernel {
  Kernel() { kernels++; }
  ~Kernel() { kernels--; }
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;
};

void count_read() {
  if (kernels == 0) reads++;
}

// ---- streams: the one that computes does everything at once. On the other a copy that the host doesn't wait for is made as
// late as it may be: when something waits for it. Who forgets to wait finds zeros.

void copy_now(const at::Tensor& from, const at::Tensor& to);

struct Mark {
  c10::DeviceIndex device;
  uint64_t copies;  // that were asked for before it
};

struct CopyStream {
  std::deque<std::pair<at::Tensor, at::Tensor>> waiting;  // from, to
  uint64_t done = 0;
};
std::mutex streams_mutex;
auto* copy_streams = new std::array<CopyStream, kDevices>();  // never destroyed: tensors may wait in it at the end
constexpr c10::StreamId kCopies = 1;
thread_local std::array<c10::StreamId, kDevices> stream_now = {};

void make_copies(c10::DeviceIndex device, uint64_t until) {
  std::lock_guard<std::mutex> lock(streams_mutex);
  auto& stream = copy_streams->at(device);
  for (; stream.done < until && !stream.waiting.empty(); stream.done++) {
    copy_now(stream.waiting.front().first, stream.waiting.front().second);
    stream.waiting.pop_front();
  }
}

// ---- devices

struct GuardedGuard final : c10::impl::DeviceGuardImplInterface {
  using Device = c10::Device;
  using Stream = c10::Stream;
  static constexpr c10::DeviceType static_type = kGuarded;
  GuardedGuard() = default;
  explicit GuardedGuard(c10::DeviceType) {}
  c10::DeviceType type() const override { return kGuarded; }
  Device exchangeDevice(Device device) const override {
    Device before(kGuarded, current);
    setDevice(device);
    return before;
  }
  Device getDevice() const override { return {kGuarded, current}; }
  void setDevice(Device device) const override {
    TORCH_CHECK(device.index() < kDevices, "privateuseone: there is no device ", device.str());
    uncheckedSetDevice(device);
  }
  void uncheckedSetDevice(Device device) const noexcept override {
    if (device.index() >= 0) current = device.index();
  }
  Stream getStream(Device device) const override {
    return Stream(Stream::UNSAFE, device, stream_now.at(device.index()));
  }
  Stream getDefaultStream(Device device) const override { return Stream(Stream::DEFAULT, device); }
  Stream getStreamFromGlobalPool(Device device, bool) const override { return Stream(Stream::UNSAFE, device, kCopies); }
  Stream exchangeStream(Stream stream) const override {
    const Stream before = getStream(stream.device());
    stream_now.at(stream.device_index()) = stream.id();
    return before;
  }
  c10::DeviceIndex deviceCount() const noexcept override { return kDevices; }
  bool queryStream(const Stream& stream) const override {
    std::lock_guard<std::mutex> lock(streams_mutex);
    return stream.id() != kCopies || copy_streams->at(stream.device_index()).waiting.empty();
  }
  void synchronizeStream(const Stream& stream) const override {
    if (stream.id() == kCopies) make_copies(stream.device_index(), UINT64_MAX);
  }
  void synchronizeDevice(const c10::DeviceIndex index) const override { make_copies(index, UINT64_MAX); }
  void recordDataPtrOnStream(const c10::DataPtr&, const Stream&) const override {}
  void record(void** event, const Stream& stream, const c10::DeviceIndex, const c10::EventFlag) const override {
    std::lock_guard<std::mutex> lock(streams_mutex);
    const auto& copies = copy_streams->at(stream.device_index());
    delete static_cast<Mark*>(*event);
    *event = new Mark{stream.device_index(), stream.id() == kCopies ? copies.done + copies.waiting.size() : 0};
  }
  void block(void* event, const Stream&) const override { synchronizeEvent(event); }
  bool queryEvent(void* event) const override {
    std::lock_guard<std::mutex> lock(streams_mutex);
    const auto* mark = static_cast<Mark*>(event);
    return copy_streams->at(mark->device).done >= mark->copies;
  }
  void synchronizeEvent(void* event) const override {
    const auto* mark = static_cast<Mark*>(event);
    make_copies(mark->device, mark->copies);
  }
  void destroyEvent(void* event, const c10::DeviceIndex) const noexcept override { delete static_cast<Mark*>(event); }
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, GuardedGuard);

// ---- random numbers: those of the CPU's algorithm, from a state of the device's own

struct GuardedGenerator final : c10::GeneratorImpl {
  explicit GuardedGenerator(c10::DeviceIndex index)
      : GeneratorImpl(c10::Device(kGuarded, index), c10::DispatchKeySet(c10::DispatchKey::PrivateUse1)),
        inner(at::detail::createCPUGenerator()) {}
  void set_current_seed(uint64_t seed) override { inner.set_current_seed(seed); }
  void set_offset(uint64_t) override { TORCH_CHECK(false, "privateuseone: a generator has no offset"); }
  uint64_t get_offset() const override { TORCH_CHECK(false, "privateuseone: a generator has no offset"); }
  uint64_t current_seed() const override { return inner.current_seed(); }
  uint64_t seed() override { return inner.seed(); }
  void set_state(const c10::TensorImpl& state) override { inner.unsafeGetGeneratorImpl()->set_state(state); }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override { return inner.unsafeGetGeneratorImpl()->get_state(); }
  at::Generator inner;

 private:
  GuardedGenerator* clone_impl() const override {
    auto* copy = new GuardedGenerator(device().index());
    copy->inner = inner.clone();
    return copy;
  }
};

struct GuardedHooks final : at::PrivateUse1HooksInterface {
  GuardedHooks() {
    for (c10::DeviceIndex i = 0; i < kDevices; i++) defaults.push_back(at::make_generator<GuardedGenerator>(i));
  }
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return kDevices; }
  c10::DeviceIndex getCurrentDevice() const override { return current; }
  void setCurrentDevice(c10::DeviceIndex index) const override { current = index; }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex index) const override {
    return defaults.at(index < 0 ? current : index);
  }
  at::Generator getNewGenerator(c10::DeviceIndex index) const override {
    return at::make_generator<GuardedGenerator>(index < 0 ? current : index);
  }
  c10::Allocator* getPinnedMemoryAllocator() const override { return c10::GetAllocator(c10::DeviceType::CPU); }
  std::vector<at::Generator> defaults;
};

// ---- operators

// The same memory as a tensor of the CPU; only to be touched while its block is open.
at::Tensor in_main_memory(const at::Tensor& tensor) {
  if (tensor.is_cpu()) return tensor;
  return at::from_blob(tensor.data_ptr(), tensor.sizes(), tensor.strides(),
                       at::TensorOptions().dtype(tensor.scalar_type()));
}

void copy_now(const at::Tensor& from, const at::Tensor& to) {
  Open a(from.data_ptr()), b(to.data_ptr());
  in_main_memory(to).copy_(in_main_memory(from));
}

at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool non_blocking) {
  if (to.numel() == 0) return to;
  TORCH_CHECK(from.is_cpu() || from.device().type() == kGuarded, "privateuseone: can't copy from ",
              from.device().str());
  TORCH_CHECK(to.is_cpu() || to.device().type() == kGuarded, "privateuseone: can't copy to ", to.device().str());
  if (from.is_cpu() && non_blocking && stream_now.at(to.get_device()) == kCopies) {
    std::lock_guard<std::mutex> lock(streams_mutex);
    copy_streams->at(to.get_device()).waiting.emplace_back(from, to);
    return to;
  }
  if (to.is_cpu()) count_read();
  if (from.is_cpu() && !non_blocking && kernels == 0) blocking_copies++;
  copy_now(from, to);
  return to;
}

const at::Tensor& resize(const at::Tensor& self, at::IntArrayRef size, std::optional<at::MemoryFormat>) {
  auto* tensor = self.unsafeGetTensorImpl();
  const size_t bytes =
      at::detail::computeStorageNbytesContiguous(size, self.itemsize(), static_cast<size_t>(self.storage_offset()));
  const auto& storage = self.storage();
  if (storage.nbytes() < bytes) {
    auto fresh = allocator.allocate(bytes);
    if (storage.nbytes() > 0) allocator.copy_data(fresh.get(), storage.data(), storage.nbytes());
    storage.unsafeGetStorageImpl()->set_data_ptr_noswap(std::move(fresh));
    storage.unsafeGetStorageImpl()->set_nbytes(bytes);
  }
  tensor->set_sizes_contiguous(size);
  return self;
}

at::Tensor copy_from_and_resize(const at::Tensor& from, const at::Tensor& to) {
  if (to.sizes() != from.sizes()) {
    if (to.is_cpu())
      to.resize_(from.sizes());
    else
      resize(to, from.sizes(), std::nullopt);
  }
  return copy_from(from, to, false);
}

c10::DispatchKeySet key_set() { return c10::DispatchKeySet(c10::DispatchKey::PrivateUse1); }

at::Tensor empty(at::IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                 std::optional<at::Device> device, std::optional<bool>, std::optional<at::MemoryFormat> format) {
  const c10::DeviceGuard guard(device.value_or(c10::Device(kGuarded, current)));
  return at::detail::empty_generic(size, &allocator, key_set(), c10::dtype_or_default(dtype), format);
}

at::Tensor empty_strided(at::IntArrayRef size, at::IntArrayRef stride, std::optional<at::ScalarType> dtype,
                         std::optional<at::Layout>, std::optional<at::Device> device, std::optional<bool>) {
  const c10::DeviceGuard guard(device.value_or(c10::Device(kGuarded, current)));
  return at::detail::empty_strided_generic(size, stride, &allocator, key_set(), c10::dtype_or_default(dtype));
}

at::Scalar local_scalar_dense(const at::Tensor& self) {
  count_read();
  Open open(self.data_ptr());
  return in_main_memory(self).item();
}

// Convolutions have an operator of their own for other devices, which the fallback would call again on the CPU.
at::Tensor convolution(const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                       at::IntArrayRef stride, at::IntArrayRef padding, at::IntArrayRef dilation, bool transposed,
                       at::IntArrayRef output_padding, int64_t groups) {
  const Kernel running;
  const auto bias_here = bias && bias->defined() ? std::optional(bias->cpu()) : std::nullopt;
  return at::convolution(input.cpu(), weight.cpu(), bias_here, stride, padding, dilation, transposed, output_padding,
                         groups)
      .to(input.device());
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> convolution_backward(const at::Tensor& grad, const at::Tensor& input,
                                                                    const at::Tensor& weight, at::IntArrayRef stride,
                                                                    at::IntArrayRef padding, at::IntArrayRef dilation,
                                                                    bool transposed, at::IntArrayRef output_padding,
                                                                    int64_t groups, std::array<bool, 3> mask) {
  const Kernel running;
  auto [a, b, c] = at::convolution_backward(grad.cpu(), input.cpu(), weight.cpu(), at::IntArrayRef(weight.size(0)),
                                            stride, padding, dilation, transposed, output_padding, groups, mask);
  auto there = [&](const at::Tensor& tensor) { return tensor.defined() ? tensor.to(input.device()) : tensor; };
  return {there(a), there(b), there(c)};
}

// Everything else: on the CPU, with the device's own random numbers. Tensors of two devices are a mistake there too.
void on_cpu(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto& arguments = op.schema().arguments();
  const size_t begin = stack->size() - arguments.size();
  const auto& name = op.schema().name();
  const bool takes_cpu = name.starts_with("aten::index") || name.starts_with("aten::_index_put");
  c10::DeviceIndex device = -1;
  auto check = [&](const at::Tensor& tensor) {
    if (!tensor.defined() || tensor.device().type() != kGuarded) return;
    TORCH_CHECK(device < 0 || device == tensor.device().index(), name,
                ": tensors of privateuseone:", static_cast<int>(device), " and of ", tensor.device().str());
    device = tensor.device().index();
  };
  for (size_t i = begin; i < stack->size(); i++) {
    const auto& value = (*stack)[i];
    if (value.isTensor()) {
      const auto& tensor = value.toTensor();
      // as on CUDA, a number or an index may come from the CPU, a larger tensor may not
      TORCH_CHECK(!tensor.defined() || !tensor.is_cpu() || tensor.dim() == 0 || takes_cpu, name, ": argument ",
                  i - begin, " is on the cpu, others are on privateuseone");
      check(tensor);
    } else if (value.isTensorList()) {
      for (const at::Tensor& tensor : value.toTensorVector()) check(tensor);
    } else if (value.isDevice() && value.toDevice().type() == kGuarded) {
      device = value.toDevice().index();
    }
  }
  for (size_t i = 0; i < arguments.size(); i++) {
    auto& value = (*stack)[begin + i];
    const auto optional = arguments[i].type()->cast<c10::OptionalType>();
    const bool takes_generator = arguments[i].type()->kind() == c10::TypeKind::GeneratorType ||
                                 (optional && optional->getElementType()->kind() == c10::TypeKind::GeneratorType);
    if (!takes_generator) continue;
    const at::Generator generator =
        value.isGenerator() ? value.toGenerator() : at::detail::getPrivateUse1Hooks().getDefaultGenerator(device);
    TORCH_CHECK(generator.device().type() == kGuarded, name, ": a generator of ", generator.device().str());
    value = static_cast<GuardedGenerator*>(generator.unsafeGetGeneratorImpl())->inner;
  }
  // sizes of their results depend on values, for which the host waits on CUDA too
  for (const char* waits : {"aten::nonzero", "aten::masked_select", "aten::_unique2", "aten::equal"})
    if (name == waits) count_read();
  const Kernel running;
  at::native::cpu_fallback(op, stack);
}

// What autocast does to an operator: its inputs are cast first.
void cast_inputs(const c10::OperatorHandle& op, torch::jit::Stack* stack, at::ScalarType dtype) {
  const c10::impl::ExcludeDispatchKeyGuard without_autocast(c10::DispatchKey::AutocastPrivateUse1);
  for (size_t i = stack->size() - op.schema().arguments().size(); i < stack->size(); i++) {
    auto& value = (*stack)[i];
    if (value.isTensor() && value.toTensor().defined() && value.toTensor().device().type() == kGuarded &&
        value.toTensor().is_floating_point() && value.toTensor().scalar_type() != dtype)
      value = value.toTensor().to(dtype);
  }
  op.callBoxed(stack);
}

void in_lower_precision(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  cast_inputs(op, stack, at::autocast::get_autocast_dtype(kGuarded));
}

void in_float32(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  cast_inputs(op, stack, at::ScalarType::Float);
}

int registered = [] {
  c10::register_privateuse1_backend("privateuseone");
  static GuardedHooks hooks;
  at::RegisterPrivateUse1HooksInterface(&hooks);
  return 0;
}();

}  // namespace

// For tests: how often the host has waited, in all threads.
TORCH_LIBRARY(guarded, m) {
  m.def("reads() -> int", []() -> int64_t { return reads; });
  m.def("blocking_copies() -> int", []() -> int64_t { return blocking_copies; });
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&on_cpu>()); }

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", TORCH_FN(empty));
  m.impl("empty_strided", TORCH_FN(empty_strided));
  m.impl("_copy_from", TORCH_FN(copy_from));
  m.impl("_copy_from_and_resize", TORCH_FN(copy_from_and_resize));
  m.impl("_local_scalar_dense", TORCH_FN(local_scalar_dense));
  m.impl("resize_", TORCH_FN(resize));
  m.impl("as_strided", TORCH_FN(at::native::as_strided_tensorimpl));
  m.impl("view", TORCH_FN(at::native::view));
  m.impl("_reshape_alias", TORCH_FN(at::native::_reshape_alias));
  m.impl("unfold", TORCH_FN(at::native::unfold));
  m.impl("convolution_overrideable", TORCH_FN(convolution));
  m.impl("convolution_backward_overrideable", TORCH_FN(convolution_backward));
}

TORCH_LIBRARY_IMPL(_, AutocastPrivateUse1, m) { m.fallback(torch::CppFunction::makeFallthrough()); }

// Products in the lower precision, norms and softmax in float32: a part of the lists for CUDA
TORCH_LIBRARY_IMPL(aten, AutocastPrivateUse1, m) {
  for (const char* name : {"linear", "matmul", "mm", "bmm", "addmm", "conv2d", "scaled_dot_product_attention"})
    m.impl(name, torch::CppFunction::makeFromBoxedFunction<&in_lower_precision>());
  for (const char* name : {"layer_norm", "softmax.int", "log_softmax.int"})
    m.impl(name, torch::CppFunction::makeFromBoxedFunction<&in_float32>());
}
