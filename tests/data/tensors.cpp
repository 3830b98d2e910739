// SPDX-License-Identifier: Apache-2.0
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <creditlib/data/batches.hpp>
#include <creditlib/data/tensors.hpp>
#include <string>
#include <vector>

#include "../io/files.hpp"

using namespace creditlib;
using creditlib::test::check_error;
using data::Batches;
using data::Tensors;

namespace {

// Each pair differs from row to row, so that a row of the wrong index cannot pass.
struct TensorKind {
  std::string name;
  Tensors tensors;
};

std::vector<TensorKind> tensor_kinds(std::int64_t n) {
  const auto numbers = [&](const std::vector<std::int64_t>& sizes) {
    std::vector<std::int64_t> all = {n};
    all.insert(all.end(), sizes.begin(), sizes.end());
    const auto count = c10::multiply_integers(all);
    return torch::arange(count, torch::kInt64).view(all);
  };
  return {
      {"floats, and double targets", {numbers({3}).to(torch::kFloat32) / 7, numbers({1}).to(torch::kFloat64) / 3}},
      {"one number per sample", {numbers({}).to(torch::kFloat64), numbers({}).to(torch::kFloat32) / 3}},
      {"16-bit images", {(numbers({1, 4, 4}) * 97 - 9000).to(torch::kInt16), numbers({})}},
      {"unsigned 16-bit images", {(numbers({1, 4, 4}) * 97).to(torch::kUInt16), numbers({})}},
      {"unsigned numbers", {numbers({}).to(torch::kUInt16), numbers({}).to(torch::kUInt32)}},
      {"long unsigned numbers", {numbers({3}).to(torch::kUInt64).t().contiguous().t(), numbers({}).to(torch::kUInt64)}},
      {"bfloat16 images", {numbers({3, 2, 2}).to(torch::kBFloat16), numbers({}).to(torch::kUInt8)}},
      {"token ids with a target each", {numbers({8}), numbers({8}) + 1}},
      {"soft labels", {numbers({2, 5}).to(torch::kFloat32), torch::softmax(numbers({4}).to(torch::kFloat64), 1)}},
      {"bool targets", {numbers({3}).to(torch::kFloat32), numbers({2}).remainder(3) == 0}},
      {"rows that are not contiguous", {numbers({3}).to(torch::kFloat32).t().contiguous().t(), numbers({2})}},
  };
}

bool bits_equal(const torch::Tensor& a, const torch::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && torch::equal(a.to(torch::kFloat64), b.to(torch::kFloat64));
}

bool are_rows(const torch::Tensor& a, const torch::Tensor& of, const torch::Tensor& rows) {
  return a.scalar_type() == of.scalar_type() &&
         torch::equal(a.to(torch::kFloat64), of.to(torch::kFloat64).index_select(0, rows));
}

std::vector<data::Batch> tensor_epoch(Batches& batches) {
  std::vector<data::Batch> epoch;
  for (const auto& batch : batches) epoch.push_back(batch);
  return epoch;
}

bool same_rows(const std::vector<data::Batch>& a, const std::vector<data::Batch>& b) {
  return std::ranges::equal(a, b, [](const auto& left, const auto& right) {
    return bits_equal(left.input, right.input) && bits_equal(left.target, right.target);
  });
}

// The order that Batches of a Dataset has with this seed, epoch after epoch.
std::vector<torch::Tensor> orders_of_images(std::int64_t n, std::int64_t seed, int epochs) {
  const data::Dataset images{.name = "numbered",
                             .images = torch::zeros({n, 1, 1, 1}, torch::kUInt8),
                             .labels = torch::arange(n),
                             .classes = n,
                             .mean = {0},
                             .deviation = {1}};
  Batches batches(images, {.batch_size = n, .seed = seed});
  std::vector<torch::Tensor> orders;
  for (int epoch = 0; epoch < epochs; ++epoch) orders.push_back((*batches.begin()).target);
  return orders;
}

}  // namespace

TEST_CASE("batches of tensors of any dtype and shape are their rows, in the order that images have", "[data]") {
  const auto orders = orders_of_images(10, 5, 2);
  REQUIRE_FALSE(torch::equal(orders[0], orders[1]));
  for (const auto& [name, tensors] : tensor_kinds(10)) {
    for (const bool prefetch : {false, true}) {
      INFO(name << ", prefetch " << prefetch);
      Batches batches(tensors, {.batch_size = 4, .prefetch = prefetch, .seed = 5});
      CHECK(batches.size() == 10);
      CHECK(batches.batches_per_epoch() == 3);
      for (const auto& order : orders) {
        std::int64_t begin = 0;
        for (const auto& [x, y] : batches) {
          const auto rows = order.slice(0, begin, std::min<std::int64_t>(begin + 4, 10));
          CHECK(are_rows(x, tensors.inputs, rows));
          CHECK(are_rows(y, tensors.targets, rows));
          CHECK(x.data_ptr() != tensors.inputs.data_ptr());
          begin += 4;
        }
        CHECK(begin == 12);
      }
    }
  }
}

TEST_CASE("tensors come in their own order without shuffle, flat if asked, without a short batch if asked", "[data]") {
  const Tensors tensors{.inputs = torch::arange(60.).view({5, 3, 4}), .targets = torch::arange(5)};
  Batches flat(tensors, {.batch_size = 2, .shuffle = false, .flatten = true, .drop_last = true});

  const auto epoch = tensor_epoch(flat);

  REQUIRE(epoch.size() == 2);
  CHECK(flat.batches_per_epoch() == 2);
  CHECK(torch::equal(epoch[0].input, torch::arange(24.).view({2, 12})));
  CHECK(torch::equal(epoch[1].input, torch::arange(24., 48.).view({2, 12})));
  CHECK(torch::equal(epoch[1].target, torch::tensor({2, 3}, torch::kInt64)));
}

TEST_CASE("a run on tensors resumes with the batches that it would have had", "[data]") {
  for (const auto& [name, tensors] : tensor_kinds(11)) {
    INFO(name);
    Batches first(tensors, {.batch_size = 3, .seed = 1});
    Batches resumed(tensors, {.batch_size = 3, .prefetch = true, .seed = 2});
    tensor_epoch(first);
    const auto state = first.named_tensors();
    const auto expected = tensor_epoch(first);

    resumed.load(state);

    CHECK(same_rows(tensor_epoch(resumed), expected));
    CHECK(same_rows(tensor_epoch(resumed), tensor_epoch(first)));
  }
}

TEST_CASE("batches of tensors leave torch's global generator and the tensors alone", "[data]") {
  const auto global = [] { return at::detail::getDefaultCPUGenerator().get_state(); };
  const Tensors tensors{torch::arange(40.).view({10, 4}), torch::arange(10)};
  const auto before = global();

  Batches batches(tensors, {.batch_size = 3});
  for (auto& [x, y] : batches) x.zero_();

  CHECK(torch::equal(global(), before));
  CHECK(torch::equal(tensors.inputs, torch::arange(40.).view({10, 4})));
}

TEST_CASE("batches tell what they are of", "[data]") {
  const Tensors tensors{.inputs = torch::zeros({3, 2}), .targets = torch::zeros({3}), .name = "mine"};
  const data::Dataset images{.images = torch::zeros({2, 1, 1, 1}, torch::kUInt8),
                             .labels = torch::zeros({2}, torch::kInt64),
                             .classes = 1,
                             .mean = {0},
                             .deviation = {1}};

  const Batches of_tensors(tensors), of_images(images);

  CHECK(of_tensors.tensors().name == "mine");
  CHECK(of_images.dataset().size() == 2);
  CHECK(of_images.size() == 2);
  check_error([&] { of_tensors.dataset(); }, {"batches of Tensors", "tensors()"});
  check_error([&] { of_images.tensors(); }, {"batches of a Dataset", "dataset()"});
}

TEST_CASE("the first samples of tensors keep their targets; all of them move together", "[data]") {
  const Tensors tensors{.inputs = torch::arange(8.).view({4, 2}), .targets = torch::arange(4), .name = "four"};

  const auto part = tensors.first(3);
  const auto moved = tensors.to(torch::kMeta);

  CHECK(torch::equal(part.inputs, torch::arange(6.).view({3, 2})));
  CHECK(torch::equal(part.targets, torch::arange(3)));
  CHECK(part.name == "four");
  CHECK(moved.inputs.is_meta());
  CHECK(moved.targets.is_meta());
  CHECK(moved.name == "four");
  check_error([&] { tensors.first(5); }, {"Tensors four: the first 5", "1 to 4"});
  check_error([&] { tensors.first(0); }, {"first 0"});
}

TEST_CASE("tensors that do not fit together are refused", "[data]") {
  const auto x = torch::zeros({3, 2}), y = torch::zeros({3});
  const auto refuses = [](const Tensors& tensors, std::initializer_list<std::string> parts) {
    check_error([&] { Batches{tensors}; }, parts);
  };

  refuses({torch::Tensor(), y}, {"Tensors: inputs are undefined, expected a dense tensor (N, ...)."});
  refuses({x, torch::Tensor()}, {"targets are undefined"});
  refuses({x, torch::tensor(1.), "mine"}, {"Tensors mine: targets are () float32 on cpu"});
  refuses({x.to_sparse(), y}, {"inputs are (3, 2)", "dense"});
  refuses({x, y.slice(0, 1)}, {"inputs are (3, 2) float32 on cpu and targets (2) float32 on cpu", "same first size"});
  refuses({x.slice(0, 3), y.slice(0, 3)}, {"inputs are (0, 2)", "at least one row"});
  refuses({x, y.to(torch::kMeta)}, {"inputs are on cpu, but targets are on meta"});
  refuses({x.clone().requires_grad_(), y}, {"inputs require a gradient", "inputs.detach()"});
}

TEST_CASE("options that need images are refused for tensors", "[data]") {
  const Tensors tensors{torch::zeros({3, 2}, torch::kFloat64), torch::zeros({3})};
  const auto refuses = [&](const data::BatchOptions& options, std::initializer_list<std::string> parts) {
    check_error([&] { Batches(tensors, options); }, parts);
  };

  refuses({.augment = true}, {"augment", "images of a Dataset", "leave it off"});
  refuses({.dtype = torch::kFloat32}, {"dtype is for the images of a Dataset", "inputs are float64", ".to(dtype)"});
  refuses({.batch_size = 0}, {"batch_size is 0"});
  refuses({.batch_size = 4, .drop_last = true}, {"the data has 3 samples and batch_size is 4"});
  check_error([] { Batches({.inputs = torch::zeros({3}), .targets = torch::zeros({3})}, {.flatten = true}); },
              {"flatten needs inputs", "(3) float32", "unsqueeze(1)"});
}

TEST_CASE("batches of tensors on CUDA are those on the CPU", "[data][cuda]") {
  if (!torch::cuda::is_available()) {
    SUCCEED("skipped: no CUDA device");
    return;
  }
  for (const auto& [name, tensors] : tensor_kinds(10)) {
    INFO(name);
    Batches cpu(tensors, {.batch_size = 4}), cuda(tensors.to(torch::kCUDA), {.batch_size = 4, .prefetch = true});
    auto moved = tensor_epoch(cuda);
    for (auto& [x, y] : moved) {
      CHECK(x.is_cuda());
      x = x.cpu();
      y = y.cpu();
    }
    CHECK(same_rows(moved, tensor_epoch(cpu)));
  }
}
