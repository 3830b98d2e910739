#include "support/methods.hpp"

#include <creditlib/network/shape.hpp>
#include <creditlib/io/safetensors.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <creditlib/model/small_cnn.hpp>
#include <creditlib/model/small_resnet.hpp>
#include <creditlib/model/vit_mini.hpp>

#include "support/program.hpp"
#include "support/weights.hpp"

namespace support {

template <class Model>
std::unique_ptr<AnyTrainer> method_trainer(const std::string& method, Model model, const MethodSettings& s,
                                           bool mean_over_positions);

extern template std::unique_ptr<AnyTrainer> method_trainer(const std::string&, creditlib::ResidualMLP,
                                                           const MethodSettings&, bool);
extern template std::unique_ptr<AnyTrainer> method_trainer(const std::string&, creditlib::SmallCNN,
                                                           const MethodSettings&, bool);
extern template std::unique_ptr<AnyTrainer> method_trainer(const std::string&, creditlib::SmallResNet,
                                                           const MethodSettings&, bool);
extern template std::unique_ptr<AnyTrainer> method_trainer(const std::string&, creditlib::ViTMini,
                                                           const MethodSettings&, bool);

namespace {

using creditlib::elements;

/// Whether the rule acts on a network whose convolutions' credit is one value a channel, meaned over positions: the
/// scripts' way.
bool has_positions(const std::string& arch) { return arch == "vit" || arch == "resnet"; }

template <class Model>
std::unique_ptr<AnyTrainer> trainer_on(Model model, const std::string& arch, const std::string& method,
                                       const Workbench& bench, MethodSettings settings, const std::string& init_from) {
  creditlib::io::Safetensors file;
  if (!init_from.empty()) {
    file = creditlib::io::read_safetensors(init_from);
    load_weights(*model, file, init_from);
    if (model->blocks() > 0 && has_feedback_by_element(file, rule_name(method), elements(model->hidden_shape(1))))
      settings.by_element = true;
  }
  model->to(torch::Device(bench.device()));
  if (method == "frozen" || method == "frozen_bp") {
    for (std::int64_t l = 0; l < model->blocks(); ++l) {
      for (auto& parameter : model->block_parameters(l)) parameter.requires_grad_(false);
    }
  }
  auto trainer = method_trainer(method, model, settings, has_positions(arch));
  load_rule(trainer->credit_tensors(), rule_name(method), file, init_from);
  if (bench.cuda_graph()) trainer->use_cuda_graphs();
  return trainer;
}

}  // namespace

const std::vector<std::string>& arch_names() {
  static const std::vector<std::string> names{"resmlp", "resmlp_d512_L2", "vit", "resnet", "cnn"};
  return names;
}

const std::vector<std::string>& method_names() {
  static const std::vector<std::string> names{
      "bp", "fa", "dfa", "oracle", "vec", "value_net", "state_predictor", "ep", "frozen", "frozen_bp", "shallow"};
  return names;
}

bool takes_flat_images(const std::string& arch) { return arch == "resmlp" || arch == "resmlp_d512_L2"; }

bool has_shallow(const std::string& arch) { return arch != "cnn"; }

std::string rule_name(const std::string& method) { return method == "frozen" ? "dfa" : method; }

std::unique_ptr<AnyTrainer> make_trainer(const std::string& arch, const std::string& method, const Workbench& bench,
                                         MethodSettings settings, const std::string& init_from, std::int64_t width,
                                         std::int64_t blocks) {
  const auto& images = bench.splits().train.images;
  const std::int64_t channels = images.size(1), side = images.size(2);
  const auto make = [&](auto model) { return trainer_on(model, arch, method, bench, settings, init_from); };
  if (takes_flat_images(arch)) {
    const bool wide = arch == "resmlp_d512_L2";
    if (width <= 0) width = wide ? 512 : 256;
    if (blocks <= 0) blocks = wide ? 2 : 4;
    if (method == "shallow") blocks = 0;
    return make(
        creditlib::ResidualMLP({.input = bench.input(), .width = width, .classes = bench.classes(), .blocks = blocks}));
  }
  if (method == "shallow" && !has_shallow(arch))
    throw UsageError("shallow is the readout on h_0, which that of --arch " + arch +
                     " does not take: blocks change the shape");
  if (arch == "cnn") return make(creditlib::SmallCNN({.classes = bench.classes(), .input = channels, .image = side}));
  if (arch == "resnet")
    return make(creditlib::SmallResNet({.channels = 64,
                                        .classes = bench.classes(),
                                        .blocks = method == "shallow" ? 0 : 4,
                                        .input = channels,
                                        .image = side}));
  return make(creditlib::ViTMini({.width = 128,
                                  .heads = 4,
                                  .blocks = method == "shallow" ? 0 : 4,
                                  .classes = bench.classes(),
                                  .patch = 4,
                                  .image = side,
                                  .channels = channels}));
}

}  // namespace support
