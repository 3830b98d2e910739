#include "audit/settings.hpp"

#include <type_traits>

#include "support/methods.hpp"
#include "support/program.hpp"

namespace audit {

void add_flags(CLI::App& app, Settings& s) {
  using support::flag;
  const auto choice = [&](const std::string& name, std::string& value, const std::vector<std::string>& of,
                          const char* what) {
    app.add_option(flag(name), value, what)->check(CLI::IsMember(of))->capture_default_str();
  };
  const auto number = [&](const std::string& name, auto& value, const char* what) {
    constexpr bool floating = std::is_floating_point_v<std::remove_reference_t<decltype(value)>>;
    app.add_option(flag(name), value, what)
        ->check(floating ? support::not_negative() : support::whole(0))
        ->capture_default_str();
  };
  choice("method", s.method, support::method_names(), "the rule to audit");
  choice("arch", s.arch, support::arch_names(), "the network");
  app.add_option("--from", s.from,
                 "audit these saved weights (safetensors), with what the rule has there of its own, instead of a run");
  app.add_option("--seeds", s.seeds, "a run each; D3 compares them in pairs")->expected(1, -1)->capture_default_str();
  app.add_option("--epochs", s.epochs, "of every run")->check(support::whole(1))->capture_default_str();
  number("lr", s.lr, "AdamW's learning rate");
  number("wd", s.wd, "AdamW's weight decay");
  number("clip", s.clip, "clips each block's gradient norm to this (0: not at all)");
  number("penalty_lam", s.penalty_lam, "adds this times the mean of ||f_l||^2 to each block's loss");
  number("null_draws", s.null_draws, "fresh feedback draws that Gamma is compared with (0: none)");
  number("random_label_epochs", s.random_label_epochs, "epochs of the random-label control (0: none)");
  app.add_flag(flag("no_controls"), s.no_controls,
               "do not train the frozen and shallow controls; D3 is then not measured");
  app.add_option(flag("output_dir"), s.output_dir, "where audit_{dataset}_{arch}_{method}.json goes")
      ->capture_default_str();
  support::add_retrain_flag(app, s.retrain);
  support::add_run_flags(app, s.run);
}

nlohmann::ordered_json config(const Settings& s) {
  return {{"arch", s.arch},
          {"method", s.method},
          {"from", s.from},
          {"seeds", s.seeds},
          {"epochs", s.epochs},
          {"lr", s.lr},
          {"wd", s.wd},
          {"clip", s.clip},
          {"penalty_lam", s.penalty_lam},
          {"null_draws", s.null_draws},
          {"random_label_epochs", s.random_label_epochs},
          {"dataset", s.run.dataset},
          {"batch_size", s.run.batch_size},
          {"limit_train", s.run.limit_train},
          {"output_dir", s.output_dir}};
}

}  // namespace audit
