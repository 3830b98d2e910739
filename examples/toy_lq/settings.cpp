#include "toy_lq/settings.hpp"

#include "support/program.hpp"

namespace toy_lq {

const std::vector<std::string>& method_names() {
  static const std::vector<std::string> names{"dfa",         "state_predictor", "value_net", "vec", "state_predictor_y",
                                              "value_net_y", "vec_y",           "ridge"};
  return names;
}

void add_flags(CLI::App& app, Settings& s) {
  using support::flag;
  const auto count = [&](const std::string& name, std::int64_t& value, const char* what) {
    app.add_option(flag(name), value, what)->check(support::whole(1))->capture_default_str();
  };
  const auto number = [&](const std::string& name, double& value, const char* what) {
    app.add_option(flag(name), value, what)->check(support::not_negative())->capture_default_str();
  };
  count("steps", s.steps, "of each learned source, each on a fresh batch");
  count("d", s.d, "width of the state");
  count("L", s.L, "steps of the dynamics");
  count("outputs", s.outputs, "numbers that the readout gives");
  number("noise", s.noise, "deviation of each step's noise");
  count("batch", s.batch, "samples a step");
  number("target_deviation", s.target_deviation,
         "deviation of the target y, independent of the state (0: drive the output to 0)");
  app.add_option("--dynamics", s.dynamics, "A_l: orthogonal, or gaussian, N(0, 1)/sqrt(d)")
      ->check(CLI::IsMember({"orthogonal", "gaussian"}))
      ->capture_default_str();
  app.add_option("--methods", s.methods,
                 "dfa, state_predictor, value_net, vec, their forms that see y in place of e (…_y), ridge")
      ->expected(1, -1)
      ->check(CLI::IsMember(method_names()))
      ->capture_default_str();
  number("lr_fb", s.lr_fb, "learning rate of the sources' nets (0: each source's own, 3e-4, vec 1e-3)");
  count("M", s.M, "directions of vec's perturbation targets");
  number("term_grad_weight", s.term_grad_weight, "weight of value_net's terminal gradient matching");
  app.add_option("--eta", s.eta, "how far the nudge moves a state")->check(support::positive())->capture_default_str();
  count("eval_samples", s.eval_samples, "samples that figures are measured on");
  app.add_option(flag("ridge_samples"), s.ridge_samples, "samples that the ridge control is fitted on")
      ->check(support::whole(2))
      ->capture_default_str();
  app.add_option("--seed", s.seed, "of the dynamics, the nets, the feedback and the batches")->capture_default_str();
  app.add_option(flag("output_dir"), s.output_dir, "where toy_lq_L{L}_d{d}_s{seed}.json goes")->capture_default_str();
  app.add_option("--threads", s.threads, "threads of LibTorch (0: as it chooses)")
      ->check(support::whole(0))
      ->capture_default_str();
  support::add_retrain_flag(app, s.retrain);
  app.add_flag("--quiet", s.quiet, "no progress, only the outcome");
}

nlohmann::ordered_json config(const Settings& s) {
  return {{"steps", s.steps},
          {"d", s.d},
          {"L", s.L},
          {"outputs", s.outputs},
          {"noise", s.noise},
          {"batch", s.batch},
          {"target_deviation", s.target_deviation},
          {"dynamics", s.dynamics},
          {"methods", s.methods},
          {"lr_fb", s.lr_fb},
          {"M", s.M},
          {"term_grad_weight", s.term_grad_weight},
          {"eta", s.eta},
          {"eval_samples", s.eval_samples},
          {"ridge_samples", s.ridge_samples},
          {"seed", s.seed}};
}

}  // namespace toy_lq
