// SPDX-License-Identifier: Apache-2.0
// Mistakes that the compiler does not find, and what the program says: docs/misuse.md shows lines of this file.
#include <algorithm>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <creditlib/model/sequential_blocks.hpp>
#include <creditlib/testing/laws.hpp>
#include <functional>
#include <map>
#include <sstream>
#include <string>

#include "generated_page.hpp"
#include "test.hpp"

namespace misuse {
namespace {

namespace nn = torch::nn;
using creditlib::NamedTensors, creditlib::Trace, creditlib::BindContext;

creditlib::ResidualMLP network() {
  torch::manual_seed(1);
  return creditlib::ResidualMLP({.input = 8, .width = 16, .classes = 3, .blocks = 2});
}

void pixels_as_bytes() {
  auto model = network();
  creditlib::LocalTrainer trainer(model, creditlib::DFA{});
  const auto y = torch::zeros({6}, torch::kInt64);

  const auto x = torch::randint(0, 256, {6, 8}, torch::kUInt8);  // pixels, as files have them
  trainer.step(x, y);
}

void labels_as_numbers() {
  auto model = network();
  creditlib::LocalTrainer trainer(model, creditlib::DFA{});
  const auto x = torch::randn({6, 8});

  const auto y = torch::tensor({0.0, 1.0, 2.0, 0.0, 1.0, 2.0});
  trainer.step(x, y);
}

struct ForBlocksOnly {
  template <class Model>
  std::vector<torch::Tensor> credit(Model& model, const Trace& trace) const {
    std::vector<torch::Tensor> credits;
    for (std::int64_t l = 0; l < model->blocks(); ++l) credits.push_back(trace.loss_gradient());
    return credits;
  }
};

void a_credit_is_missing() {
  auto model = network();
  creditlib::LocalTrainer trainer(model, ForBlocksOnly{});
  trainer.step(torch::randn({6, 8}), torch::zeros({6}, torch::kInt64));
}

void changed_in_place() {
  creditlib::SequentialBlocks model({
      .embed = nn::Sequential(nn::Linear(8, 16)),
      .blocks = {nn::Sequential(nn::ReLU(nn::ReLUOptions(true)), nn::Linear(16, 16))},
      .readout = nn::Sequential(nn::Linear(16, 3)),
      .example = torch::zeros({1, 8}),
  });
  creditlib::LocalTrainer trainer(model, creditlib::DFA{});
  trainer.step(torch::randn({6, 8}), torch::zeros({6}, torch::kInt64));
}

void moved_afterwards() {
  auto model = network();
  const auto x = torch::randn({6, 8}, torch::kFloat64);
  const auto y = torch::zeros({6}, torch::kInt64);

  creditlib::LocalTrainer trainer(model, creditlib::DFA{});
  model->to(torch::kFloat64);
  trainer.step(x, y);
}

/// A rule that obeys the laws but for the part that is given.
template <class Part>
struct Rule {
  struct State {
    std::vector<torch::Tensor> feedback;

    template <class Model>
    std::vector<torch::Tensor> credit(Model& model, const Trace& trace) const {
      std::vector<torch::Tensor> credits;
      for (std::int64_t l = 0; const auto& B : feedback)
        credits.push_back(creditlib::spread(Part::credit(B, trace), model, l++));
      return credits;
    }
    NamedTensors named_tensors() const { return Part::named_tensors(feedback); }
  };

  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    State state;
    for (std::int64_t l = 0; l <= model->blocks(); ++l)
      state.feedback.push_back(Part::draw(context, creditlib::features(model, l), model->classes()));
    return state;
  }
};

struct Right {
  static torch::Tensor draw(const BindContext& context, std::int64_t features, std::int64_t classes) {
    return context.randn({features, classes});
  }
  static torch::Tensor credit(const torch::Tensor& B, const Trace& trace) { return trace.error.matmul(B.t()); }
  static NamedTensors named_tensors(const std::vector<torch::Tensor>& feedback) {
    return creditlib::numbered("feedback", feedback);
  }
};

struct DividesByTheBatch : Right {
  static torch::Tensor credit(const torch::Tensor& B, const Trace& trace) {
    return trace.error.matmul(B.t()) / trace.error.size(0);
  }
};

struct DrawsGlobally : Right {
  static torch::Tensor draw(const BindContext& context, std::int64_t features, std::int64_t classes) {
    return torch::randn({features, classes}, context.dtype);
  }
};

struct KeepsNothing : Right {
  static NamedTensors named_tensors(const std::vector<torch::Tensor>&) { return {}; }
};

/// What is thrown.
std::string said_by(void (*mistake)()) {
  try {
    mistake();
  } catch (const creditlib::Error& error) {
    return error.what();
  }
  return "nothing";
}

/// The laws that the rule breaks: three of them, each with the first of what was seen.
template <class Part>
std::string laws_broken_by() {
  std::istringstream report(creditlib::testing::check_laws(Rule<Part>{}).text());
  std::string shown;
  int broken = 0;
  bool wanted = false;
  for (std::string line; std::getline(report, line);) {
    const bool is_law = line.starts_with("FAILED");
    if (is_law) ++broken;
    if (is_law || line.empty() || line[0] != ' ') wanted = is_law && broken <= 3;
    if (!wanted) continue;
    shown += (shown.empty() ? "" : "\n") + line;
    if (!is_law) wanted = false;
  }
  if (broken > 3) shown += "\n(and " + std::to_string(broken - 3) + " more)";
  return broken == 0 ? "nothing" : shown;
}

/// Long lines are broken as the page needs it.
std::string in_lines(const std::string& text) {
  std::istringstream lines(text);
  std::string out;
  for (std::string line; std::getline(lines, line); out += line + "\n") {
    while (line.size() > 140) {
      const auto at = line.rfind(' ', 140);
      out += line.substr(0, at) + "\n";
      line = "  " + line.substr(at + 1);
    }
  }
  return out;
}

}  // namespace
}  // namespace misuse

TEST_CASE("docs/misuse.md has what the program says") {
  using namespace misuse;
  const std::map<std::string, std::string> said = {
      {"pixels_as_bytes", said_by(pixels_as_bytes)},
      {"labels_as_numbers", said_by(labels_as_numbers)},
      {"a_credit_is_missing", said_by(a_credit_is_missing)},
      {"changed_in_place", said_by(changed_in_place)},
      {"moved_afterwards", said_by(moved_afterwards)},
      {"divides_by_the_batch", laws_broken_by<DividesByTheBatch>()},
      {"draws_globally", laws_broken_by<DrawsGlobally>()},
      {"keeps_nothing", laws_broken_by<KeepsNothing>()},
  };
  CHECK(laws_broken_by<Right>() == "nothing");

  creditlib::test::GeneratedPage page("misuse.md");
  INFO("CREDITLIB_WRITE_DOCS=1 writes what is said");
  for (const auto& [name, text] : said) {
    CAPTURE(name);
    CHECK(text != "nothing");
    const std::string begin = "<!-- program: " + name + " -->\n\n```\n", end = "```\n";
    const auto wanted = in_lines(text);
    CHECK(std::count(wanted.begin(), wanted.end(), '\n') <= 10);
    page.offer(begin, end, wanted);
    CHECK(page.part(begin, end) == wanted);
  }
}
