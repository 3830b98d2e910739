// SPDX-License-Identifier: Apache-2.0
#include "audit/settings.hpp"

#include "registry/rules.hpp"
#include "support/methods.hpp"

namespace audit {

void declare(support::Flags& flags, Settings& s) {
  flags.choice("arch", s.arch, support::arch_names(), "the network");
  flags.choice("method", s.method, registry::method_names(), "the rule to audit");
  flags.add("from", s.from,
            "audit these saved weights (safetensors), with what the rule has there of its own, instead of a run");
  flags.add("seeds", s.seeds, "a run each; D3 compares them in pairs");
  flags.count("epochs", s.epochs, 1, "of every run");
  flags.number("lr", s.lr, "AdamW's learning rate");
  flags.number("wd", s.wd, "AdamW's weight decay");
  flags.number("clip", s.clip, "clips each block's gradient norm to this (0: not at all)");
  flags.number("penalty_lam", s.penalty_lam, "adds this times the mean of ||f_l||^2 to each block's loss");
  flags.count("null_draws", s.null_draws, 0, "fresh feedback draws that Gamma is compared with (0: none)");
  flags.count("random_label_epochs", s.random_label_epochs, 0, "epochs of the random-label control (0: none)");
  flags.record("dataset", s.run.dataset);
  flags.record("batch_size", s.run.batch_size);
  flags.record("limit_train", s.run.limit_train);
  flags.add("output_dir", s.output_dir, "where audit_{dataset}_{arch}_{method}.json goes");
  flags.add("no_controls", s.no_controls, "do not train the frozen and shallow controls; D3 is then not measured",
            support::Flags::apart);
  support::add_retrain_flag(flags, s.retrain);
  support::add_run_flags(flags, s.run);
}

nlohmann::ordered_json config(const Settings& s) { return support::config_of(s, declare); }

}  // namespace audit
