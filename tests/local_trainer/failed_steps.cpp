// SPDX-License-Identifier: Apache-2.0
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/direct_kolen_pollack.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/block_module.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <creditlib/model/sequential_blocks.hpp>
#include <memory>
#include <string>
#include <vector>

#include "../models.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;
namespace nn = torch::nn;

namespace {

/// Copies of all parameters and buffers.
std::vector<torch::Tensor> values(torch::nn::Module& module) {
  std::vector<torch::Tensor> values;
  for (const auto& tensor : module.parameters()) values.push_back(tensor.detach().clone());
  for (const auto& tensor : module.buffers()) values.push_back(tensor.detach().clone());
  return values;
}

bool same_values(const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!torch::equal(a[i], b[i])) return false;
  }
  return a.size() == b.size();
}

/// Block 0 has BatchNorm; block 1 is the one to fail.
SequentialBlocks with_batch_norm_below(const nn::Sequential& failing) {
  return SequentialBlocks({.blocks = {nn::Sequential(nn::Linear(6, 5), nn::BatchNorm1d(5)), failing},
                           .readout = nn::Sequential(nn::Linear(5, 3)),
                           .example = torch::zeros({1, 6})});
}

/// A layer for whose backward pass there is not enough memory, if it is told so.
struct ShortOnTheWayDownImpl : nn::Module {
  torch::Tensor forward(const torch::Tensor& h) {
    auto f = linear(h);
    if (f.requires_grad()) {
      f.register_hook([](const torch::Tensor& gradient) {
        TORCH_CHECK_WITH(OutOfMemoryError, !is_short, "CUDA out of memory. Tried to allocate 2.00 GiB.");
        return gradient;
      });
    }
    return f;
  }
  nn::Linear linear = register_module("linear", nn::Linear(5, 5));
  static inline bool is_short = false;
};

/// What a step says, by back-propagation and by two local rules; it must change nothing.
template <class Model>
std::vector<std::string> refusals(Model model, const torch::Tensor& x, const torch::Tensor& y) {
  std::vector<std::string> said;
  const auto step = [&](auto trainer) {
    const auto before = values(*model);
    said.push_back(error_of([&] { trainer.step(x, y); }));
    CHECK(same_values(before, values(*model)));
    CHECK(trainer.steps() == 0);
  };
  step(LocalTrainer(model, DFA{}));
  step(LocalTrainer(model, Oracle{}));
  step(BackpropTrainer(model));
  return said;
}

}  // namespace

TEST_CASE("a step that fails leaves parameters and running statistics as they were", "[errors]") {
  const auto y = torch::zeros({4}, torch::kInt64);

  SECTION("BatchNorm above with one value per channel") {
    auto model = with_batch_norm_below(nn::Sequential(nn::Linear(5, 5), nn::BatchNorm1d(5)));
    for (const auto& said : refusals(model, torch::randn({1, 6}), y.narrow(0, 0, 1))) {
      CHECK(says(said, {"Block 0: BatchNorm in train mode needs more than one value per channel", "drop_last"}));
    }
  }
  SECTION("a block that works in place") {
    auto model = with_batch_norm_below(nn::Sequential(nn::ReLU(nn::ReLUOptions(true)), nn::Linear(5, 5)));
    const auto said = [&](auto trainer) {
      const auto before = values(*model);
      const auto error = error_of([&] { trainer.step(torch::randn({4, 6}), y); });
      CHECK(same_values(before, values(*model)));
      return error;
    };
    CHECK(says(said(LocalTrainer(model, DFA{})), {"Block 1 changes its input in place", "inplace(false)"}));
    CHECK(says(said(LocalTrainer(model, Oracle{})), {"Block 1 changes its input in place", "inplace(false)"}));
  }
}

TEST_CASE("what a source has learned in a step that fails later stays, and a new step learns again", "[errors]") {
  SequentialBlocks model({.blocks = {nn::Sequential(nn::Linear(6, 5)), std::make_shared<ShortOnTheWayDownImpl>()},
                          .readout = nn::Sequential(nn::Linear(5, 3)),
                          .example = torch::zeros({1, 6})});
  LocalTrainer trainer(model, DirectKolenPollack{});
  const auto& feedback = trainer.state().feedback;
  const auto x = torch::randn({4, 6}), y = torch::tensor({0, 1, 2, 0}, torch::kInt64);
  const auto parameters = values(*model);

  ShortOnTheWayDownImpl::is_short = true;
  CHECK_THROWS_AS(trainer.step(x, y), c10::OutOfMemoryError);
  ShortOnTheWayDownImpl::is_short = false;

  CHECK(trainer.steps() == 0);
  CHECK(same_values(parameters, values(*model)));
  const auto learned = feedback[2].clone();
  CHECK(learned.abs().min().item<double>() > 0);  // from zeros
  trainer.step(x, y);
  CHECK_FALSE(torch::equal(feedback[2], learned));
}

TEST_CASE("running statistics move in a step that succeeds", "[errors]") {
  auto model = with_batch_norm_below(nn::Sequential(nn::Linear(5, 5)));
  LocalTrainer trainer(model, DFA{});
  const auto before = model->buffers()[0].clone();

  trainer.step(torch::randn({4, 6}), torch::zeros({4}, torch::kInt64));

  CHECK_FALSE(torch::equal(before, model->buffers()[0]));
}

TEST_CASE("BatchNorm with one value per channel is refused in any part of a network", "[errors]") {
  const auto norm = [] { return nn::Sequential(nn::Linear(6, 6), nn::BatchNorm1d(6)); };
  const auto plain = [] { return nn::Sequential(nn::Linear(6, 6)); };
  const auto example = torch::zeros({1, 6}), x = torch::randn({1, 6});
  const auto y = torch::zeros({1}, torch::kInt64);
  const auto refused_in = [&](const SequentialBlocks& model, const std::string& part) {
    for (const auto& said : refusals(model, x, y)) CHECK(says(said, {part + ": BatchNorm in train mode needs more"}));
  };

  refused_in(SequentialBlocks({.embed = norm(), .blocks = {plain()}, .readout = plain(), .example = example}),
             "The embed");
  refused_in(SequentialBlocks({.blocks = {plain(), norm()}, .readout = plain(), .example = example}), "Block 1");
  refused_in(SequentialBlocks({.blocks = {plain()}, .readout = norm(), .example = example}), "The readout");
}

TEST_CASE("one sample without its batch dimension is refused with the cure", "[errors]") {
  const auto y = torch::zeros({6}, torch::kInt64);

  for (const auto& said :
       refusals(ResidualMLP({.input = 6, .width = 5, .classes = 3, .blocks = 2}), torch::randn({6}), y)) {
    CHECK(says(said, {"ResidualMLP: the input is (6), expected 6 numbers per sample", "dimension 0"}));
  }
  auto model = SequentialBlocks({.embed = nn::Sequential(nn::Conv1d(1, 2, 3), nn::Flatten()),
                                 .blocks = {nn::Sequential(nn::Linear(8, 8))},
                                 .readout = nn::Sequential(nn::Linear(8, 3)),
                                 .example = torch::zeros({1, 1, 6})});
  for (const auto& said : refusals(model, torch::randn({6}), y)) {
    CHECK(says(said, {"The batch x is (6) float32 on cpu", "x.unsqueeze(0)"}));
  }
}

TEST_CASE("what LibTorch refuses in a part of the network names the part and what it was given", "[errors]") {
  const auto y = torch::zeros({6}, torch::kInt64);
  // A layer that takes its example alone, as a shape that depends on the data would do.
  const auto strict = [](bool strict_now) {
    return nn::Functional([strict_now](const torch::Tensor& h) {
      TORCH_CHECK(!strict_now || h.size(0) < 3, "nothing but one or two samples");
      return h.clone();
    });
  };
  const auto refused_in = [&](int part, const std::string& named) {
    const auto plain = [&](int at, int in, int out) { return nn::Sequential(strict(at == part), nn::Linear(in, out)); };
    auto model = SequentialBlocks({.embed = plain(0, 6, 5),
                                   .blocks = {plain(1, 5, 5), plain(2, 5, 5)},
                                   .readout = plain(3, 5, 3),
                                   .example = torch::zeros({1, 6})});
    for (const auto& said : refusals(model, torch::randn({6, 6}), y)) {
      CHECK(says(said, {named + " cannot take (6, " + (part == 0 ? "6" : "5") + ") float32 on cpu: nothing but one"}));
    }
  };
  refused_in(0, "The embed");
  refused_in(1, "Block 0");
  refused_in(2, "Block 1");
  refused_in(3, "The readout");
}

TEST_CASE("a join that LibTorch refuses is named", "[errors]") {
  struct NarrowingImpl : BlockModule<NarrowingImpl> {
    NarrowingImpl() {
      register_block(nn::Linear(5, 5));
      head = register_readout("head", nn::Linear(5, 3));
      find_shapes(torch::zeros({1, 5}));
    }
    torch::Tensor join(std::int64_t, const torch::Tensor& h, const torch::Tensor& f) {
      return h + (h.size(0) > 2 ? f.narrow(1, 0, 4) : f);
    }
    torch::Tensor readout(const torch::Tensor& h) { return head(h); }
    nn::Linear head = nullptr;
  };
  for (const auto& said :
       refusals(std::make_shared<NarrowingImpl>(), torch::randn({6, 5}), torch::zeros({6}, torch::kInt64))) {
    CHECK(says(said, {"The join of block 0", "(6, 5) float32", "must match the size"}));
  }
}
