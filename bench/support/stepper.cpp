#include "support/stepper.hpp"

#include <algorithm>
#include <creditlib/error.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <creditlib/model/small_cnn.hpp>
#include <creditlib/model/small_resnet.hpp>
#include <creditlib/model/vit_mini.hpp>

namespace bench {

template <class Model>
std::unique_ptr<Stepper> stepper_on(Model model, const Settings& settings);

extern template std::unique_ptr<Stepper> stepper_on(creditlib::ResidualMLP, const Settings&);
extern template std::unique_ptr<Stepper> stepper_on(creditlib::SmallCNN, const Settings&);
extern template std::unique_ptr<Stepper> stepper_on(creditlib::SmallResNet, const Settings&);
extern template std::unique_ptr<Stepper> stepper_on(creditlib::ViTMini, const Settings&);

namespace {

constexpr std::int64_t channels = 3, image = 32;

/// Copies values into the tensors of their names.
void put(const char* owner, const creditlib::NamedTensors& into, const creditlib::NamedTensors& values) {
  const torch::NoGradGuard no_grad;
  for (const auto& [name, value] : values) {
    const auto found = std::ranges::find(into, name, [](const auto& entry) { return entry.first; });
    if (found == into.end() || found->second.sizes() != value.sizes()) {
      throw creditlib::Error(c10::str(owner, " has no ", name, " of the sizes ", value.sizes()));
    }
    found->second.copy_(value);
  }
}

template <class Model>
std::unique_ptr<Stepper> started(Model model, const Settings& settings, const Start& start) {
  model->to(torch::Device(settings.device));
  auto stepper = stepper_on(model, settings);
  put("the network", stepper->parameters(), start.weights);
  put("the rule", stepper->credit_tensors(), start.credit);
  return stepper;
}

}  // namespace

const std::vector<std::string>& rules() {
  static const std::vector<std::string> names{"bp",  "dfa",       "dfa_dense",       "fa", "oracle",
                                              "vec", "value_net", "state_predictor", "ep"};
  return names;
}

std::unique_ptr<Stepper> make_stepper(const Settings& s, const Start& start) {
  if (std::find(rules().begin(), rules().end(), s.rule) == rules().end()) {
    std::string names;
    for (const auto& name : rules()) names += " " + name;
    throw creditlib::Error("there is no rule " + s.rule + ", only" + names);
  }
  if (s.model == "cnn") return started(creditlib::SmallCNN({.classes = s.classes}), s, start);
  if (s.model == "resnet") return started(creditlib::SmallResNet({.classes = s.classes}), s, start);
  if (s.model == "vit") return started(creditlib::ViTMini({.classes = s.classes}), s, start);
  return started(creditlib::ResidualMLP(
                     {.input = channels * image * image, .width = s.width, .classes = s.classes, .blocks = s.blocks}),
                 s, start);
}

StepLoop::StepLoop(const Settings& s, int batches) : device_(s.device) {
  torch::manual_seed(1);
  stepper_ = make_stepper(s);
  for (int i = 0; i < batches; ++i) {
    auto x = torch::randn({s.batch, channels, image, image});
    if (s.model == "resmlp") x = x.flatten(1);
    batches_.emplace_back(x.to(device_), torch::randint(s.classes, {s.batch}, torch::kInt64).to(device_));
  }
}

std::size_t StepLoop::batch_bytes() const {
  std::size_t bytes = 0;
  for (const auto& [x, y] : batches_) bytes += x.nbytes() + y.nbytes();
  return bytes;
}

}  // namespace bench
