// SPDX-License-Identifier: Apache-2.0
// Built with NDEBUG always, and without precompiled headers: the inputs of at::RecordFunction are there whatever a
// program is built as, but without NDEBUG its accessor asserts a flag that a release build of LibTorch never sets.

#include "support/flop.hpp"

#include <ATen/record_function.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace bench {
namespace {

/// Of all products so far in threads that count, and in backward passes that they started.
std::atomic<std::int64_t> flop_so_far = 0;

using OperatorInputs = c10::ArrayRef<const c10::IValue>;

/// Numbers that convolution(input, weight, bias, stride, padding, dilation, transposed, …) takes through its window:
/// those of its output, or of its input where transposed.
std::int64_t windows(const OperatorInputs& inputs) {
  const auto input = inputs[0].toTensor(), weight = inputs[1].toTensor();
  if (inputs[6].toBool()) return input.numel();
  const auto stride = inputs[3].toIntVector(), padding = inputs[4].toIntVector(), dilation = inputs[5].toIntVector();
  std::int64_t numbers = input.size(0) * weight.size(0);
  for (std::int64_t d = 2; d < input.dim(); ++d) {
    const auto of = [&](const std::vector<std::int64_t>& list) {
      return list.at(list.size() == 1 ? 0 : static_cast<std::size_t>(d - 2));
    };
    const auto reach = of(dilation) * (weight.size(d) - 1) + 1;
    numbers *= (input.size(d) + 2 * of(padding) - reach) / of(stride) + 1;
  }
  return numbers;
}

/// What one operator multiplies and adds; 0 for all that is no product.
std::int64_t flop_of(std::string_view name, const OperatorInputs& inputs) {
  if (!name.starts_with("aten::")) return 0;
  name.remove_prefix(6);
  if (name.ends_with('_')) name.remove_suffix(1);
  const auto numel = [&](std::size_t i) { return inputs[i].toTensor().numel(); };
  const auto size = [&](std::size_t i, std::int64_t dim) { return inputs[i].toTensor().size(dim); };

  if (name == "mm" || name == "bmm") return 2 * numel(0) * size(1, -1);
  if (name == "addmm" || name == "baddbmm" || name == "_addmm_activation") return 2 * numel(1) * size(2, -1);
  if (name == "addmv") return 2 * numel(1);
  if (name == "convolution") return 2 * windows(inputs) * (numel(1) / size(1, 0));
  if (name == "convolution_backward") {  // of the input and of the weight, as far as each is asked for
    const auto asked = inputs[10].toBoolList();
    const auto window = 2 * numel(inputs[7].toBool() ? 1 : 0) * (numel(2) / size(2, 0));
    return window * (int{asked[0]} + int{asked[1]});
  }
  if (name.starts_with("_scaled_dot_product_") && !name.starts_with("_scaled_dot_product_attention_math")) {
    // Of (…, tokens, width): queries with keys, and weights with values; backward the first again and two for each.
    const bool backward = name.ends_with("_backward");
    const std::size_t query = backward ? 1 : 0;
    const auto one = 2 * numel(query) * size(query + 1, -2);
    return (backward ? 5 : 2) * one;
  }
  return 0;
}

std::unique_ptr<at::ObserverContext> count(const at::RecordFunction& function) {
  flop_so_far += flop_of(function.name(), function.inputs());
  return nullptr;
}

class Watch {
 public:
  Watch()
      : handle_(at::addThreadLocalCallback(
            at::RecordFunctionCallback(count).needsInputs(true).scopes({at::RecordScope::FUNCTION}))) {}
  ~Watch() { at::removeCallback(handle_); }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

 private:
  at::CallbackHandle handle_;
};

}  // namespace

double product_flop(const std::function<void()>& f) {
  const auto before = flop_so_far.load();
  const Watch watch;
  f();
  return static_cast<double>(flop_so_far.load() - before);
}

}  // namespace bench
