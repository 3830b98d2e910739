// SPDX-License-Identifier: Apache-2.0
#include "toy_lq/settings.hpp"

#include "support/epoch_records.hpp"
#include "support/program.hpp"
#include "support/threads.hpp"

namespace toy_lq {

const std::vector<std::string>& method_names() {
  static const std::vector<std::string> names{"dfa",         "state_predictor", "value_net", "vec", "state_predictor_y",
                                              "value_net_y", "vec_y",           "ridge"};
  return names;
}

void declare(support::Flags& flags, Settings& s) {
  constexpr auto apart = support::Flags::apart;
  flags.count("steps", s.steps, 1, "of each learned source, each on a fresh batch");
  flags.count("d", s.d, 1, "width of the state");
  flags.count("L", s.L, 1, "steps of the dynamics");
  flags.count("outputs", s.outputs, 1, "numbers that the readout gives");
  flags.number("noise", s.noise, "deviation of each step's noise");
  flags.count("batch", s.batch, 1, "samples per step, of all processes together");
  flags.number("target_deviation", s.target_deviation,
               "deviation of the target y, independent of the state (0: drive the output to 0)");
  flags.choice("dynamics", s.dynamics, {"orthogonal", "gaussian"}, "A_l: orthogonal, or gaussian, N(0, 1)/sqrt(d)");
  flags.choice("methods", s.methods, method_names(),
               "dfa, state_predictor, value_net, vec, their forms that see y in place of e (…_y), ridge");
  flags.number("lr_fb", s.lr_fb, "learning rate of the sources' nets (0: each source's own, 3e-4, vec 1e-3)");
  flags.count("M", s.M, 1, "directions of vec's perturbation targets");
  flags.number("term_grad_weight", s.term_grad_weight, "weight of value_net's terminal gradient matching");
  flags.add("eta", s.eta, "how far the nudge moves a state", {support::positive()});
  flags.count("eval_samples", s.eval_samples, 1, "samples that figures are measured on");
  flags.count("ridge_samples", s.ridge_samples, 2, "samples that the ridge control is fitted on");
  flags.add("seed", s.seed, "of the dynamics, the nets, the feedback and the batches");
  flags.add("output_dir", s.output_dir, "where toy_lq_L{L}_d{d}_s{seed}.json goes", apart);
  support::add_threads_flag(flags, s.threads);
  support::add_retrain_flag(flags, s.retrain);
  support::add_checkpoint_flags(flags, s.checkpoints);
  support::add_tensorboard_flag(flags, s.tensorboard);
  flags.add("quiet", s.quiet, "no progress, only the outcome", apart);
}

nlohmann::ordered_json config(const Settings& s) { return support::config_of(s, declare); }

}  // namespace toy_lq
