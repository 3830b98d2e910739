// SPDX-License-Identifier: Apache-2.0
#include "support/methods.hpp"

#include <creditlib/io/safetensors.hpp>
#include <creditlib/network/shape.hpp>
#include <optional>
#include <utility>

#include "registry/networks.hpp"
#include "registry/rules.hpp"
#include "support/program.hpp"
#include "support/weights.hpp"

namespace support {
namespace {

template <class Model>
Trainer trainer_on(Model model, bool mean_over_positions, const std::string& method, const Workbench& bench,
                   MethodSettings settings, const std::string& init_from) {
  const auto rule = rule_name(method);
  creditlib::io::Safetensors file;
  if (!init_from.empty()) {
    file = creditlib::io::read_safetensors(init_from);
    load_weights(*model, file, init_from);
    if (model->blocks() > 0 && has_feedback_by_element(file, rule, creditlib::elements(model->hidden_shape(1))))
      settings.rule.by_element = true;
  }
  model->to(torch::Device(bench.device()));
  if (const auto* control = registry::control(method)) freeze(model, *control);
  auto trainer = rule_trainer(rule, model, settings, mean_over_positions);
  load_rule(trainer.credit_tensors(), rule, file, init_from);
  if (bench.cuda_graph()) trainer.use_cuda_graphs();
  return trainer;
}

}  // namespace

std::vector<std::string> arch_names() { return registry::network_names(); }
std::string archs_text() { return registry::networks_text(); }
bool takes_flat_images(const std::string& arch) { return registry::facts_of(arch).flat_images; }
bool has_shallow(const std::string& arch) { return registry::facts_of(arch).without_blocks; }

std::string rule_name(const std::string& method) {
  const auto* control = registry::control(method);
  return control ? control->rule : method;
}

Trainer make_trainer(const std::string& arch, const std::string& method, const Workbench& bench,
                     MethodSettings settings, const std::string& init_from, std::int64_t width, std::int64_t blocks) {
  const auto* control = registry::control(method);
  const bool without_blocks = control && control->without_blocks;
  if (without_blocks && !has_shallow(arch))
    throw UsageError(method + " is the readout on h_0, which that of --arch " + arch +
                     " does not take: blocks change the shape");
  settings.options.group = group();
  settings.rule.epochs = settings.options.epochs;
  settings.rule.batch_size = bench.batch_size();
  const auto& images = bench.splits().train.images;
  const registry::NetworkSettings network{.classes = bench.classes(),
                                          .channels = images.size(1),
                                          .side = images.size(2),
                                          .width = width,
                                          .blocks = blocks,
                                          .without_blocks = without_blocks};
  std::optional<Trainer> made;
  registry::with_network(arch, [&](const auto& found) {
    made.emplace(trainer_on(found.make(network), found.facts.mean_over_positions, method, bench, settings, init_from));
  });
  if (!made) throw UsageError("there is no network " + arch);
  return std::move(*made);
}

}  // namespace support
