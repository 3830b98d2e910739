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
#include <utility>

#include "timeline.hpp"

namespace creditlib::test::fake_device {

namespace {

constexpr auto key = c10::DispatchKey::PrivateUse1;
const torch::Device the_device(torch::kPrivateUse1, 0);

// ---- What is written down ----

std::mutex log_mutex;  // backward passes run in a thread of LibTorch's
Log written;

/// What a device does is recorded while this is set, in the threads of LibTorch's backward passes too.
std::shared_ptr<Graph::Tape> recording;

void note_launch(const std::string& name) {
  const std::lock_guard lock(log_mutex);
  ++written.launches[name];
}
/// The host waits until all that is queued on the present stream is done.
void note_host_read(const std::string& what) {
  TORCH_CHECK(!recording, "not permitted while a graph is captured: ", what);
  {
    const std::lock_guard lock(log_mutex);
    written.host_reads.push_back(what);
  }
  host_waits_for(now_on(present_stream()));
}

// ---- Memory ----

class Memory final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t bytes) override {
    void* data = fake_device::allocate(bytes);
    return {data, data, &release, the_device};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { default_copy_data(to, from, bytes); }
};
Memory& memory() {
  static auto* one = new Memory;
  return *one;
}

/// The host's memory that copies from and to the device need not wait for.
class PinnedMemory final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t bytes) override {
    void* data = std::malloc(std::max<std::size_t>(bytes, 1));
    const std::lock_guard lock(mutex());
    pinned().insert(data);
    return {data, data, &free, torch::kCPU};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { default_copy_data(to, from, bytes); }

  static bool has(const void* data) {
    const std::lock_guard lock(mutex());
    return pinned().count(data) > 0;
  }

 private:
  static void free(void* data) {
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
  static std::set<const void*>& pinned() {
    static auto* of_process = new std::set<const void*>;
    return *of_process;
  }
};
PinnedMemory& pinned_memory() {
  static auto* one = new PinnedMemory;
  return *one;
}

// ---- Random numbers ----

/// A generator of the device. It is one of the CPU's too, since its kernels are.
class DeviceGenerator final : public at::CPUGeneratorImpl {
 public:
  using at::CPUGeneratorImpl::CPUGeneratorImpl;

 private:
  DeviceGenerator* clone_impl() const override {
    auto* clone = new DeviceGenerator;
    clone->set_state(*get_state());
    return clone;
  }
};
bool is_of_device(const at::Generator& one) {
  return dynamic_cast<const DeviceGenerator*>(one.unsafeGetGeneratorImpl()) != nullptr;
}

/// The device's own.
const at::Generator& generator() {
  static const auto* one = new at::Generator(torch::make_generator<DeviceGenerator>(std::uint64_t{0}));
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
  bool isPinnedPtr(const void* data) const override { return PinnedMemory::has(data); }
  void resizePrivateUse1Bytes(const c10::Storage& storage, std::size_t bytes) const override {
    auto grown = memory().allocate(bytes);
    std::copy_n(static_cast<const char*>(storage.data()), std::min(bytes, storage.nbytes()),
                static_cast<char*>(grown.mutable_get()));
    storage.set_data_ptr_noswap(std::move(grown));
    storage.set_nbytes(bytes);
  }
};

// ---- Streams and events ----

struct Guard final : c10::impl::DeviceGuardImplInterface {
  static c10::Stream stream(c10::StreamId id) { return c10::Stream(c10::Stream::UNSAFE, the_device, id); }

  c10::DeviceType type() const override { return c10::DeviceType::PrivateUse1; }
  c10::Device exchangeDevice(c10::Device) const override { return the_device; }
  c10::Device getDevice() const override { return the_device; }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }

  c10::Stream getStream(c10::Device) const override { return stream(present_stream()); }
  c10::Stream getDefaultStream(c10::Device) const override { return stream(0); }
  c10::Stream getStreamFromGlobalPool(c10::Device, bool) const override { return stream(next_stream_of_pool()); }
  c10::Stream getNewStream(c10::Device, int) const override { return stream(next_stream_of_pool()); }
  c10::Stream exchangeStream(c10::Stream next) const override { return stream(exchange_stream(next.id())); }

  void record(void** event, const c10::Stream& on, c10::DeviceIndex, c10::EventFlag) const override {
    if (*event == nullptr) *event = new Clock;
    *static_cast<Clock*>(*event) = now_on(on.id());
  }
  void block(void* event, const c10::Stream& on) const override {
    if (event != nullptr) wait_on(on.id(), *static_cast<Clock*>(event));
  }
  bool queryEvent(void*) const override { return true; }
  void synchronizeEvent(void* event) const override {
    note_host_read("an event is waited for");
    if (event != nullptr) host_waits_for(*static_cast<Clock*>(event));
  }
  void destroyEvent(void* event, c10::DeviceIndex) const noexcept override { delete static_cast<Clock*>(event); }
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream& one) const override {
    note_host_read("a stream is waited for");
    host_waits_for(now_on(one.id()));
  }
  void synchronizeDevice(c10::DeviceIndex) const override {
    note_host_read("the device is waited for");
    host_waits_for_all();
  }
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
      TORCH_CHECK(is_of_device(arguments[i].toGenerator()), schema.name(), " on ", the_device,
                  ": the generator is the CPU's");
    }
  }
}

/// Work on tensors of the CPU: writes into its arguments, and returns what it makes.
using Kernel = std::function<std::vector<c10::IValue>(const std::vector<c10::IValue>&)>;

std::vector<c10::IValue> all_on_cpu(const std::vector<c10::IValue>& values) {
  std::vector<c10::IValue> mapped_values;
  for (const auto& value : values) mapped_values.push_back(mapped(value, on_cpu));
  return mapped_values;
}

/// A new tensor of the device for such a one of the CPU.
at::Tensor made_like(const at::Tensor& t) {
  if (!t.defined()) return t;
  return at::detail::empty_strided_generic(t.sizes(), t.strides(), &memory(), c10::DispatchKeySet(key),
                                           t.scalar_type());
}

struct Entry {
  Kernel kernel;
  std::vector<c10::IValue> arguments, results;  ///< the memory as tensors of the CPU, which do not own it
  std::string name;
  std::vector<const void*> reads, writes;

  void run() const {
    access(name, reads, writes);
    const auto found = kernel(arguments);
    for (std::size_t i = 0; i < found.size(); ++i) {
      std::vector<at::Tensor> into, from;
      each_tensor(results[i], [&](const at::Tensor& t) { into.push_back(t); });
      each_tensor(found[i], [&](const at::Tensor& t) { from.push_back(t); });
      for (std::size_t j = 0; j < from.size(); ++j) {
        if (from[j].defined()) into[j].copy_(from[j]);
      }
    }
  }
};

}  // namespace

struct Graph::Tape {
  std::vector<Entry> entries;
  /// What storages held before the capture wrote into them: captured work is done, so that host code sees sizes and
  /// indices that make sense, and undone.
  std::map<void*, std::vector<char>> before;
  at::Tensor generator_before = generator().get_state();

  void keep(const at::Tensor& t) {
    void* data = t.storage().mutable_data();
    if (data == nullptr || before.count(data) > 0) return;
    const auto* first = static_cast<const char*>(data);
    before[data].assign(first, first + t.storage().nbytes());
  }
  void undo() {
    for (auto& [data, bytes] : before) std::ranges::copy(bytes, static_cast<char*>(data));
    before.clear();
    at::Generator(generator()).set_state(generator_before);
  }
};

namespace {

/// Does the work of one launch, or records it, in the order of calls. written(i) says whether it writes argument i.
template <class Written>
std::vector<c10::IValue> perform(const std::string& name, const std::vector<c10::IValue>& given,
                                 const Written& written_to, const Kernel& kernel) {
  note_launch(name);
  Entry entry{kernel, all_on_cpu(given), {}, name, {}, {}};
  const auto tape = recording;
  for (std::size_t i = 0; i < given.size(); ++i) {
    if (!tape) break;
    if (written_to(i)) {
      each_tensor(given[i], [&](const at::Tensor& t) {
        if (t.defined()) tape->keep(t);
      });
    }
    if (given[i].isTensor() && !here(given[i].toTensor()) && given[i].toTensor().defined())
      entry.arguments[i] = given[i].toTensor().clone();  // a number of the host's is the kernel's own
  }
  const auto found = kernel(entry.arguments);
  for (std::size_t i = 0; i < given.size(); ++i) {  // an out= that had no size yet
    if (!written_to(i) || !given[i].isTensor()) continue;
    const auto &mine = given[i].toTensor(), &its = entry.arguments[i].toTensor();
    if (!mine.defined() || mine.sizes() == its.sizes()) continue;
    mine.resize_(its.sizes());
    if (tape) tape->keep(mine);
    on_cpu(mine).copy_(its);
    entry.arguments[i] = on_cpu(mine);
  }
  std::vector<c10::IValue> results;
  for (const auto& one : found) {
    results.push_back(mapped(one, made_like));
    if (tape)
      each_tensor(results.back(), [&](const at::Tensor& t) {
        if (t.defined()) tape->keep(t);
      });
    entry.results.push_back(mapped(results.back(), on_cpu));
  }
  for (std::size_t i = 0; i < given.size(); ++i) {
    each_tensor(given[i], [&](const at::Tensor& t) {
      if (here(t) && t.numel() > 0) (written_to(i) ? entry.writes : entry.reads).push_back(t.storage().data());
    });
  }
  for (const auto& one : results) {
    each_tensor(one, [&](const at::Tensor& t) {
      if (here(t) && t.numel() > 0) entry.writes.push_back(t.storage().data());
    });
  }
  entry.kernel = [&](const auto&) { return found; };  // which has run
  entry.run();
  if (tape) {
    entry.kernel = kernel;
    const std::lock_guard lock(log_mutex);
    tape->entries.push_back(std::move(entry));
  }
  return results;
}
constexpr auto writes_nothing = [](std::size_t) { return false; };

/// An operator that CUDA has a kernel for: runs the CPU's on the device's memory.
void launch(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto& schema = op.schema();
  const auto given = torch::jit::pop(*stack, schema.arguments().size());
  check_devices(schema, given);
  if (reads_on_host(schema.name())) note_host_read(schema.name());
  const auto written_to = [&schema](std::size_t i) {
    const auto& argument = schema.arguments()[i];
    if (schema.name() == "aten::native_batch_norm") return argument.name().starts_with("running_");  // it does not say
    return argument.alias_info() != nullptr && argument.alias_info()->isWrite();
  };
  const Kernel kernel = [op](const std::vector<c10::IValue>& arguments) {
    torch::jit::Stack own(arguments);
    for (std::size_t i = 0; i < own.size(); ++i) {
      if (op.schema().arguments()[i].name() == "generator" && own[i].isNone()) own[i] = generator();
    }
    op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), &own);
    std::vector<c10::IValue> made;
    for (std::size_t r = 0; r < own.size(); ++r) {
      if (op.schema().returns()[r].alias_info() == nullptr) made.push_back(own[r]);
    }
    return made;
  };
  const auto made = perform(schema.name(), given, written_to, kernel);

  auto next = made.begin();
  for (const auto& result : schema.returns()) {
    const auto* alias = result.alias_info();
    if (alias == nullptr) {
      stack->push_back(*next++);
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
  access("aten::_local_scalar_dense", {self.storage().data()}, {});
  note_host_read("aten::_local_scalar_dense");
  return on_cpu(self).item();
}

/// Between host and device a copy waits, unless it is asked not to and the host's memory is pinned.
at::Tensor& copy(at::Tensor& self, const at::Tensor& source, bool non_blocking) {
  if (self.device() != source.device()) {
    const auto& host = here(self) ? source : self;
    const auto what = c10::str("a copy from ", source.device(), " to ", self.device(), " of ", source.sizes());
    TORCH_CHECK(!recording, "not permitted while a graph is captured: ", what);
    if (!non_blocking || !PinnedMemory::has(host.storage().data())) note_host_read(what);
  }
  perform(
      "aten::copy_", {self, source}, [](std::size_t i) { return i == 0; },
      [](const std::vector<c10::IValue>& of) -> std::vector<c10::IValue> {
        of[0].toTensor().copy_(of[1].toTensor());
        return {};
      });
  return self;
}

/// The list of sizes on its own: a kernel may run later.
std::vector<c10::SymInt> kept(c10::SymIntArrayRef sizes) { return sizes.vec(); }

at::Tensor convolution(const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                       c10::SymIntArrayRef stride, c10::SymIntArrayRef padding, c10::SymIntArrayRef dilation,
                       bool transposed, c10::SymIntArrayRef output_padding, c10::SymInt groups) {
  const auto added = bias.value_or(at::Tensor());
  if (added.defined()) note_launch("aten::convolution, bias");
  const Kernel kernel = [=, stride = kept(stride), padding = kept(padding), dilation = kept(dilation),
                         output_padding = kept(output_padding)](const auto& of) -> std::vector<c10::IValue> {
    return {at::convolution_symint(of[0].toTensor(), of[1].toTensor(), of[2].toTensor(), stride, padding, dilation,
                                   transposed, output_padding, groups)};
  };
  return perform("aten::convolution", {input, weight, added}, writes_nothing, kernel)[0].toTensor();
}
std::tuple<at::Tensor, at::Tensor, at::Tensor> convolution_backward(
    const at::Tensor& gradient, const at::Tensor& input, const at::Tensor& weight, c10::SymIntArrayRef stride,
    c10::SymIntArrayRef padding, c10::SymIntArrayRef dilation, bool transposed, c10::SymIntArrayRef output_padding,
    c10::SymInt groups, std::array<bool, 3> wanted) {
  for (auto i = std::ranges::count(wanted, true); i > 1; --i) note_launch("aten::convolution_backward");
  const Kernel kernel = [=, stride = kept(stride), padding = kept(padding), dilation = kept(dilation),
                         output_padding = kept(output_padding),
                         bias = std::vector<c10::SymInt>{weight.sym_size(transposed ? 1 : 0)}](
                            const auto& of) -> std::vector<c10::IValue> {
    const auto [to_input, to_weight, to_bias] =
        at::convolution_backward_symint(of[0].toTensor(), of[1].toTensor(), of[2].toTensor(), c10::SymIntArrayRef(bias),
                                        stride, padding, dilation, transposed, output_padding, groups, wanted);
    return {to_input, to_weight, to_bias};
  };
  const auto made = perform("aten::convolution_backward", {gradient, input, weight}, writes_nothing, kernel);
  return {made[0].toTensor(), made[1].toTensor(), made[2].toTensor()};
}

// Attention in one kernel, where LibTorch may take one.
std::int64_t attention_choice(const at::Tensor&, const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&,
                              double, bool, std::optional<double>, bool) {
  const bool fused = at::globalContext().userEnabledMemEfficientSDP();
  return static_cast<std::int64_t>(fused ? sdp::SDPBackend::overrideable : sdp::SDPBackend::math);
}
std::optional<at::Tensor> or_none(const at::Tensor& t) { return t.defined() ? std::optional(t) : std::nullopt; }

using Attention = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, c10::SymInt, c10::SymInt, at::Tensor,
                             at::Tensor, at::Tensor>;
Attention attention(const at::Tensor& query, const at::Tensor& keys, const at::Tensor& value,
                    const std::optional<at::Tensor>& mask, double dropout, bool causal, bool,
                    std::optional<double> scale) {
  const Kernel kernel = [=](const auto& of) -> std::vector<c10::IValue> {
    const auto [output, sums] = at::_scaled_dot_product_flash_attention_for_cpu(
        of[0].toTensor(), of[1].toTensor(), of[2].toTensor(), dropout, causal, or_none(of[3].toTensor()), scale);
    return {output, sums};
  };
  const auto made = perform("aten::scaled_dot_product_attention", {query, keys, value, mask.value_or(at::Tensor())},
                            writes_nothing, kernel);
  return {made[0].toTensor(), made[1].toTensor(), {}, {}, query.sym_size(2), keys.sym_size(2), {}, {}, {}};
}
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> attention_backward(
    const at::Tensor& gradient, const at::Tensor& query, const at::Tensor& keys, const at::Tensor& value,
    const at::Tensor& mask, std::array<bool, 4>, const at::Tensor& output, const at::Tensor& sums, const at::Tensor&,
    const at::Tensor&, c10::SymInt, c10::SymInt, double dropout, bool causal, const at::Tensor&, const at::Tensor&,
    std::optional<double> scale) {
  const Kernel kernel = [=](const auto& of) -> std::vector<c10::IValue> {
    const auto [to_query, to_keys, to_value] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
        of[0].toTensor(), of[1].toTensor(), of[2].toTensor(), of[3].toTensor(), of[4].toTensor(), of[5].toTensor(),
        dropout, causal, or_none(of[6].toTensor()), scale);
    return {to_query, to_keys, to_value};
  };
  const auto made = perform("aten::scaled_dot_product_attention_backward",
                            {gradient, query, keys, value, output, sums, mask}, writes_nothing, kernel);
  return {made[0].toTensor(), made[1].toTensor(), made[2].toTensor(), {}};
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

/// Before the first backward pass: autograd makes a queue for each device that is there then.
const bool at_program_start = registered();

torch::Device device() { return the_device; }

int Log::total() const {
  int sum = 0;
  for (const auto& [name, count] : launches) sum += count;
  return sum;
}
Log log() {
  const std::lock_guard lock(log_mutex);
  written.races = races();
  return written;
}
void clear() {
  clear_races();
  const std::lock_guard lock(log_mutex);
  written = {};
}
void Graph::replay() {
  TORCH_CHECK(!recording, "a graph is replayed while one is captured");
  for (const auto& entry : tape_->entries) entry.run();
}
std::int64_t Graph::nodes() const { return static_cast<std::int64_t>(tape_->entries.size()); }
std::unique_ptr<Graph> captured(int pool, const std::function<void()>& action) {
  auto tape = std::make_shared<Graph::Tape>();
  struct Recording {
    ~Recording() { std::exchange(recording, nullptr)->undo(); }
  } const on;
  recording = tape;
  const InPool in_pool(pool);
  action();
  return std::make_unique<Graph>(tape);
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
