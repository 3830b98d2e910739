// SPDX-License-Identifier: Apache-2.0
#include "fake_device.hpp"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/DispatchStub.h>
#include <ATen/native/transformers/attention.h>
#include <ATen/native/transformers/sdp_utils_cpp.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/resize_native.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>
#include <torch/torch.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <set>

namespace creditlib::test::fake_device {

namespace {

constexpr auto key = c10::DispatchKey::PrivateUse1;
const torch::Device the_device(torch::kPrivateUse1, 0);

// ---- What is written down ----

std::mutex log_mutex;  // backward passes run in a thread of LibTorch's
Log written;

void note_launch(const std::string& name) {
  const std::lock_guard lock(log_mutex);
  ++written.launches[name];
}
void note_host_read(const std::string& what) {
  const std::lock_guard lock(log_mutex);
  written.host_reads.push_back(what);
}

// ---- Memory ----

/// Host memory that says it is of a device.
class Memory final : public c10::Allocator {
 public:
  explicit Memory(torch::Device device) : device_(device) {}

  c10::DataPtr allocate(std::size_t bytes) override {
    void* data = nullptr;
    if (bytes > 0) {
      data = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
      const std::lock_guard lock(mutex());
      if (device_.is_cpu()) pinned().insert(data);
    }
    return {data, data, &release, device_};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { default_copy_data(to, from, bytes); }

  static bool is_pinned(const void* data) {
    const std::lock_guard lock(mutex());
    return pinned().count(const_cast<void*>(data)) > 0;
  }

 private:
  static void release(void* data) {
    {
      const std::lock_guard lock(mutex());
      pinned().erase(data);
    }
    std::free(data);
  }
  static std::mutex& mutex() {
    static auto* one = new std::mutex;  // outlives every tensor
    return *one;
  }
  static std::set<void*>& pinned() {
    static auto* of_process = new std::set<void*>;
    return *of_process;
  }

  torch::Device device_;
};
Memory& memory() {
  static auto* one = new Memory(the_device);
  return *one;
}
Memory& pinned_memory() {
  static auto* one = new Memory(torch::kCPU);
  return *one;
}

// ---- Random numbers ----

/// The device's own generator. Its type is the CPU's, since its kernels are.
const at::Generator& generator() {
  static const auto* one = new at::Generator(torch::make_generator<at::CPUGeneratorImpl>(std::uint64_t{0}));
  return *one;
}

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override { return generator(); }
  at::Allocator* getPinnedMemoryAllocator() const override { return &pinned_memory(); }
  bool isPinnedPtr(const void* data) const override { return Memory::is_pinned(data); }
  void resizePrivateUse1Bytes(const c10::Storage& storage, std::size_t bytes) const override {
    auto grown = memory().allocate(bytes);
    std::copy_n(static_cast<const char*>(storage.data()), std::min(bytes, storage.nbytes()),
                static_cast<char*>(grown.mutable_get()));
    storage.set_data_ptr_noswap(std::move(grown));
    storage.set_nbytes(bytes);
  }
};

// ---- Streams and events: all work is done at once, in the order of the host's calls ----

thread_local c10::StreamId present_stream = 0;

struct Guard final : c10::impl::DeviceGuardImplInterface {
  static c10::Stream stream(c10::StreamId id) { return c10::Stream(c10::Stream::UNSAFE, the_device, id); }

  c10::DeviceType type() const override { return c10::DeviceType::PrivateUse1; }
  c10::Device exchangeDevice(c10::Device) const override { return the_device; }
  c10::Device getDevice() const override { return the_device; }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }

  c10::Stream getStream(c10::Device) const override { return stream(present_stream); }
  c10::Stream getDefaultStream(c10::Device) const override { return stream(0); }
  c10::Stream getStreamFromGlobalPool(c10::Device, bool) const override {
    static std::atomic<c10::StreamId> next{0};
    return stream(1 + next++ % 32);  // as many as LibTorch has for CUDA
  }
  c10::Stream getNewStream(c10::Device of, int) const override { return getStreamFromGlobalPool(of, false); }
  c10::Stream exchangeStream(c10::Stream next) const override {
    return stream(std::exchange(present_stream, next.id()));
  }

  void record(void** event, const c10::Stream&, c10::DeviceIndex, c10::EventFlag) const override {
    if (*event == nullptr) *event = new int;
  }
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void synchronizeEvent(void*) const override { note_host_read("an event is waited for"); }
  void destroyEvent(void* event, c10::DeviceIndex) const noexcept override { delete static_cast<int*>(event); }
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override { note_host_read("a stream is waited for"); }
  void synchronizeDevice(c10::DeviceIndex) const override { note_host_read("the device is waited for"); }
};

// ---- Operators ----

bool here(const at::Tensor& t) { return t.defined() && t.device() == the_device; }

/// The same memory as a tensor of the CPU.
at::Tensor on_cpu(const at::Tensor& t) {
  if (!here(t)) return t;
  const auto options = at::TensorOptions(t.scalar_type());
  if (t.numel() == 0) return at::empty(t.sizes(), options);
  return at::from_blob(t.mutable_data_ptr(), t.sizes(), t.strides(), options);
}

/// A new tensor of the device with the numbers of a CPU's.
at::Tensor moved_here(const at::Tensor& t) {
  if (!t.defined()) return t;
  const at::Tensor made =
      at::detail::empty_strided_generic(t.sizes(), t.strides(), &memory(), c10::DispatchKeySet(key), t.scalar_type());
  on_cpu(made).copy_(t);
  return made;
}

template <class Visit>
void each_tensor(const c10::IValue& value, const Visit& visit) {
  if (value.isTensor()) {
    visit(value.toTensor());
  } else if (value.isTensorList()) {
    for (const at::Tensor& t : value.toTensorVector()) visit(t);
  } else if (value.isOptionalTensorList()) {
    for (const std::optional<at::Tensor>& t : value.toOptionalTensorVector()) {
      if (t) visit(*t);
    }
  }
}
template <class Map>
c10::IValue mapped(const c10::IValue& value, const Map& map) {
  if (value.isTensor()) return map(value.toTensor());
  if (value.isTensorList()) {
    c10::List<at::Tensor> list;
    for (const at::Tensor& t : value.toTensorVector()) list.push_back(map(t));
    return list;
  }
  if (value.isOptionalTensorList()) {
    c10::List<std::optional<at::Tensor>> list;
    for (const std::optional<at::Tensor>& t : value.toOptionalTensorVector())
      list.push_back(t ? std::optional(map(*t)) : t);
    return list;
  }
  return value;
}

/// Whether the size of an operator's result, or what it does, depends on numbers that the host must see first.
bool reads_on_host(const std::string& name) {
  static const std::set<std::string> those{"aten::nonzero",  "aten::masked_select",     "aten::equal",
                                           "aten::_unique2", "aten::unique_dim",        "aten::unique_consecutive",
                                           "aten::bincount", "aten::repeat_interleave", "aten::histc"};
  return those.count(name) > 0 || name.starts_with("aten::_linalg_");
}

void check_devices(const c10::FunctionSchema& schema, at::ArrayRef<c10::IValue> arguments) {
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const auto* alias = schema.arguments()[i].alias_info();
    each_tensor(arguments[i], [&](const at::Tensor& t) {
      if (!t.defined() || here(t)) return;
      const bool written_to = alias != nullptr && alias->isWrite();
      TORCH_CHECK(t.is_cpu() && t.dim() == 0 && !written_to, schema.name(), " on ", the_device, ": ",
                  schema.arguments()[i].name(), " is on ", t.device(), ", with ", t.dim(), " dimensions");
    });
    if (arguments[i].isGenerator()) {
      TORCH_CHECK(arguments[i].toGenerator() == generator(), schema.name(), " on ", the_device,
                  ": the generator is the CPU's");
    }
  }
}

/// An operator that CUDA has a kernel for: runs the CPU's on the device's memory.
void launch(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto& schema = op.schema();
  const auto count = schema.arguments().size();
  const std::vector<c10::IValue> given(stack->end() - static_cast<std::ptrdiff_t>(count), stack->end());
  check_devices(schema, given);
  note_launch(schema.name());
  if (reads_on_host(schema.name())) note_host_read(schema.name());
  torch::jit::drop(*stack, count);
  std::vector<c10::IValue> used;
  for (std::size_t i = 0; i < count; ++i) {
    const bool draws = schema.arguments()[i].name() == "generator";
    used.push_back(draws ? c10::IValue(generator()) : mapped(given[i], on_cpu));
    stack->push_back(used.back());
  }
  op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack);

  const auto results = torch::jit::pop(*stack, schema.returns().size());
  for (std::size_t i = 0; i < count; ++i) {  // an out= that had no size yet
    const auto* alias = schema.arguments()[i].alias_info();
    if (alias == nullptr || !alias->isWrite() || !given[i].isTensor()) continue;
    const auto &mine = given[i].toTensor(), &its = used[i].toTensor();
    if (mine.sizes() == its.sizes() && mine.numel() > 0) continue;
    mine.resize_(its.sizes());
    on_cpu(mine).copy_(its);
  }
  for (std::size_t r = 0; r < results.size(); ++r) {
    const auto* alias = schema.returns()[r].alias_info();
    if (alias == nullptr) {
      stack->push_back(mapped(results[r], moved_here));
      continue;
    }
    TORCH_CHECK(alias->isWrite(), schema.name(), " gives a view, which the fake device does not know");
    const auto argument = std::ranges::find_if(schema.arguments(), [&](const c10::Argument& one) {
      return one.alias_info() != nullptr && *one.alias_info() == *alias;
    });
    TORCH_CHECK(argument != schema.arguments().end(), schema.name(), ": what does it return?");
    stack->push_back(given[static_cast<std::size_t>(argument - schema.arguments().begin())]);
  }
}

at::Tensor empty(c10::SymIntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                 std::optional<at::Device>, std::optional<bool>, std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(C10_AS_INTARRAYREF_SLOW(size), &memory(), c10::DispatchKeySet(key),
                                   c10::dtype_or_default(dtype), format);
}
at::Tensor empty_strided(c10::SymIntArrayRef size, c10::SymIntArrayRef stride, std::optional<at::ScalarType> dtype,
                         std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride), &memory(),
                                           c10::DispatchKeySet(key), c10::dtype_or_default(dtype));
}
at::Tensor as_strided(const at::Tensor& self, c10::SymIntArrayRef size, c10::SymIntArrayRef stride,
                      std::optional<c10::SymInt> offset) {
  const auto at = offset ? std::optional(offset->expect_int()) : std::nullopt;
  return at::native::as_strided_tensorimpl(self, C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride), at);
}
at::Tensor view(const at::Tensor& self, c10::SymIntArrayRef size) {
  return at::native::view(self, C10_AS_INTARRAYREF_SLOW(size));
}
at::Tensor reshape_alias(const at::Tensor& self, c10::SymIntArrayRef size, c10::SymIntArrayRef stride) {
  return at::native::_reshape_alias(self, C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride));
}
const at::Tensor& resize_(const at::Tensor& self, c10::SymIntArrayRef size, std::optional<at::MemoryFormat> format) {
  return at::native::resize_(self, C10_AS_INTARRAYREF_SLOW(size), format);
}
at::Tensor& set_storage(at::Tensor& self, at::Storage source, c10::SymInt offset, c10::SymIntArrayRef size,
                        c10::SymIntArrayRef stride) {
  return at::native::set_storage_cpu_(self, std::move(source), offset.expect_int(), C10_AS_INTARRAYREF_SLOW(size),
                                      C10_AS_INTARRAYREF_SLOW(stride));
}

/// A tensor of the CPU can become one of the device, which module.to(device) asks: of PrivateUse1 LibTorch denies it.
bool may_become(const at::Tensor&, const at::Tensor&) { return true; }

at::Scalar local_scalar(const at::Tensor& self) {
  note_host_read("aten::_local_scalar_dense");
  return on_cpu(self).item();
}

/// Between host and device a copy waits, unless it is asked not to and the host's memory is pinned.
at::Tensor& copy(at::Tensor& self, const at::Tensor& source, bool non_blocking) {
  note_launch("aten::copy_");
  if (self.device() != source.device()) {
    const auto& host = here(self) ? source : self;
    if (!non_blocking || !Memory::is_pinned(host.storage().data()))
      note_host_read(c10::str("a copy from ", source.device(), " to ", self.device(), " of ", source.sizes()));
  }
  on_cpu(self).copy_(on_cpu(source));
  return self;
}

at::Tensor convolution(const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                       c10::SymIntArrayRef stride, c10::SymIntArrayRef padding, c10::SymIntArrayRef dilation,
                       bool transposed, c10::SymIntArrayRef output_padding, c10::SymInt groups) {
  note_launch("aten::convolution");
  const bool biased = bias && bias->defined();
  if (biased) note_launch("aten::convolution, bias");
  return moved_here(at::convolution_symint(on_cpu(input), on_cpu(weight), biased ? on_cpu(*bias) : at::Tensor(), stride,
                                           padding, dilation, transposed, output_padding, groups));
}
std::tuple<at::Tensor, at::Tensor, at::Tensor> convolution_backward(
    const at::Tensor& gradient, const at::Tensor& input, const at::Tensor& weight, c10::SymIntArrayRef stride,
    c10::SymIntArrayRef padding, c10::SymIntArrayRef dilation, bool transposed, c10::SymIntArrayRef output_padding,
    c10::SymInt groups, std::array<bool, 3> wanted) {
  for (const bool one : wanted) {
    if (one) note_launch("aten::convolution_backward");
  }
  const auto sizes = std::vector<c10::SymInt>{weight.sym_size(transposed ? 1 : 0)};
  const auto [to_input, to_weight, to_bias] =
      at::convolution_backward_symint(on_cpu(gradient), on_cpu(input), on_cpu(weight), c10::SymIntArrayRef(sizes),
                                      stride, padding, dilation, transposed, output_padding, groups, wanted);
  return {moved_here(to_input), moved_here(to_weight), moved_here(to_bias)};
}

// Attention in one kernel, where LibTorch may take one.
std::int64_t attention_choice(const at::Tensor&, const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&,
                              double, bool, std::optional<double>, bool) {
  const bool fused = at::globalContext().userEnabledMemEfficientSDP();
  return static_cast<std::int64_t>(fused ? sdp::SDPBackend::overrideable : sdp::SDPBackend::math);
}
using Attention = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, c10::SymInt, c10::SymInt, at::Tensor,
                             at::Tensor, at::Tensor>;
Attention attention(const at::Tensor& query, const at::Tensor& keys, const at::Tensor& value,
                    const std::optional<at::Tensor>& mask, double dropout, bool causal, bool,
                    std::optional<double> scale) {
  note_launch("aten::scaled_dot_product_attention");
  const auto of_cpu = mask ? std::optional(on_cpu(*mask)) : mask;
  const auto [output, sums] = at::_scaled_dot_product_flash_attention_for_cpu(
      on_cpu(query), on_cpu(keys), on_cpu(value), dropout, causal, of_cpu, scale);
  return {moved_here(output), moved_here(sums), {}, {}, query.sym_size(2), keys.sym_size(2), {}, {}, {}};
}
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> attention_backward(
    const at::Tensor& gradient, const at::Tensor& query, const at::Tensor& keys, const at::Tensor& value,
    const at::Tensor& mask, std::array<bool, 4>, const at::Tensor& output, const at::Tensor& sums, const at::Tensor&,
    const at::Tensor&, c10::SymInt, c10::SymInt, double dropout, bool causal, const at::Tensor&, const at::Tensor&,
    std::optional<double> scale) {
  note_launch("aten::scaled_dot_product_attention_backward");
  const auto of_cpu = mask.defined() ? std::optional(on_cpu(mask)) : std::nullopt;
  const auto [to_query, to_keys, to_value] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
      on_cpu(gradient), on_cpu(query), on_cpu(keys), on_cpu(value), on_cpu(output), on_cpu(sums), dropout, causal,
      of_cpu, scale);
  return {moved_here(to_query), moved_here(to_keys), moved_here(to_value), {}};
}

// ---- Registration ----

void register_operators(torch::Library& library) {
  std::set<std::string> own;
  const auto add = [&](const char* name, auto function) {
    own.insert(name);
    library.impl(name, torch::CppFunction::makeFromUnboxedFunction(function));
  };
  add("empty.memory_format", &empty);
  add("empty_strided", &empty_strided);
  add("as_strided", &as_strided);
  add("view", &view);
  add("_reshape_alias", &reshape_alias);
  add("unfold", &at::native::unfold);
  add("resize_", &resize_);
  add("set_.source_Storage_storage_offset", &set_storage);
  add("set_.source_Tensor", &at::native::set_tensor_);
  add("set_.source_Storage", static_cast<at::Tensor& (*)(at::Tensor&, at::Storage)>(&at::native::set_));
  add("set_", &at::native::set_cpu_);
  add("_has_compatible_shallow_copy_type", &may_become);
  add("_local_scalar_dense", &local_scalar);
  add("copy_", &copy);
  add("convolution_overrideable", &convolution);
  add("convolution_backward_overrideable", &convolution_backward);
  add("_scaled_dot_product_fused_attention_overrideable", &attention);
  add("_scaled_dot_product_fused_attention_overrideable_backward", &attention_backward);
  auto& dispatcher = c10::Dispatcher::singleton();
  for (const auto& name : dispatcher.getAllOpNames()) {
    if (!name.name.starts_with("aten::")) continue;
    auto short_name = name.name.substr(6);
    const bool many = short_name.starts_with("_foreach_");
    if (!name.overload_name.empty()) short_name += "." + name.overload_name;
    if (own.count(short_name) > 0) continue;
    const auto op = dispatcher.findOp(name);
    if (!op || !op->hasSchema()) continue;
    if (many || op->hasKernelForDispatchKey(c10::DispatchKey::CPU))
      library.impl(short_name.c_str(), torch::CppFunction::makeFromBoxedFunction<&launch>());
  }
}

/// All of it once; never taken back, since tensors may outlive anything.
bool registered() {
  c10::register_privateuse1_backend("fake");
  static Hooks hooks;
  at::RegisterPrivateUse1HooksInterface(&hooks);
  c10::SetAllocator(torch::kPrivateUse1, &memory());
  c10::impl::registerDeviceGuard(torch::kPrivateUse1, new Guard);
  at::native::_fused_sdp_choice_stub.set_privateuse1_dispatch_ptr(&attention_choice);
  static auto* library = new torch::Library(torch::Library::IMPL, "aten", key, __FILE__, __LINE__);
  register_operators(*library);
  return true;
}

}  // namespace

torch::Device device() {
  static const bool once = registered();
  TORCH_CHECK(once);
  return the_device;
}

int Log::total() const {
  int sum = 0;
  for (const auto& [name, count] : launches) sum += count;
  return sum;
}
Log log() {
  const std::lock_guard lock(log_mutex);
  return written;
}
void clear() {
  const std::lock_guard lock(log_mutex);
  written = {};
}
void seed(std::uint64_t seed) {
  auto own = generator();
  own.set_current_seed(seed);
}
std::string text_of(const std::map<std::string, int>& launches) {
  std::string text;
  for (const auto& [name, count] : launches) text += (text.empty() ? "" : ", ") + name + " " + std::to_string(count);
  return text;
}

}  // namespace creditlib::test::fake_device
