// SPDX-License-Identifier: Apache-2.0
#include "snapshot_time_sweep/report.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

#include "support/live_line.hpp"
#include "support/table.hpp"

namespace sweep {

using Json = nlohmann::ordered_json;

namespace {

std::string text(const Json& value, const char* format) {
  return value.is_number() ? fmt::format(fmt::runtime(format), value.get<double>()) : std::string("null");
}

}  // namespace

void announce(const Json& r) {
  const std::vector<std::pair<const char*, const char*>> figures{
      {"best_eta", "{:.0e}"}, {"dl_same_1", "{:+.6f}"}, {"dl_held_1", "{:+.6f}"},
      {"pur_1", "{:.3f}"},    {"dl_same_5", "{:+.6f}"}, {"dl_held_5", "{:+.6f}"},
      {"pur_5", "{:.3f}"},    {"update_cos", "{:.3f}"}, {"update_var", "{:.2e}"}};
  const std::vector<std::string> names{"eta",       "dL_same_1", "dL_held_1", "PUR_1", "dL_same_5",
                                       "dL_held_5", "PUR_5",     "u_cos",     "u_var"};
  std::vector<std::string> fields;
  for (std::size_t i = 0; i < names.size(); ++i)
    fields.push_back(names[i] + "=" + text(r[figures[i].first], figures[i].second));
  fmt::print("{}\n", support::fitted(r["method"].get<std::string>(), fields, support::columns_of(STDOUT_FILENO)));
  std::fflush(stdout);
}

void print_tables(const Json& results) {
  support::Table table({"epoch", "method", "acc", "eta", "dL_same_1", "dL_held_1", "PUR_1", "dL_same_5", "dL_held_5",
                        "PUR_5", "u_cos", "u_var"},
                       /*keys=*/2);
  support::Table ours({"epoch", "method", "gamma", "rho", "eta", "dL_same", "dL_held", "PUR", "its interval"},
                      /*keys=*/2);
  for (const auto& r : results) {
    table.add({r["snapshot_epoch"].dump(), r["method"].get<std::string>(), text(r["snapshot_acc"], "{:.3f}"),
               text(r["best_eta"], "{:.0e}"), text(r["dl_same_1"], "{:+.6f}"), text(r["dl_held_1"], "{:+.6f}"),
               text(r["pur_1"], "{:.3f}"), text(r["dl_same_5"], "{:+.6f}"), text(r["dl_held_5"], "{:+.6f}"),
               text(r["pur_5"], "{:.3f}"), text(r["update_cos"], "{:.3f}"), text(r["update_var"], "{:.2e}")});
    std::vector<std::string> row{r["snapshot_epoch"].dump(), r["method"].get<std::string>(),
                                 text(r["credit"]["gamma"].back(), "{:.3f}"),
                                 text(r["credit"]["rho"].back(), "{:.3f}")};
    const auto utility = r.value("update_utility", Json::object());
    if (utility.contains("pur")) {
      const auto &pur = utility["pur"], &interval = pur["interval"];
      row.insert(row.end(), {text(utility["eta"], "{:.0e}"), text(utility["dl_same"]["value"], "{:+.6f}"),
                             text(utility["dl_held"]["value"], "{:+.6f}"), text(pur["value"], "{:.3f}"),
                             interval.is_array()
                                 ? fmt::format("{:.3f} to {:.3f}", interval[0].get<double>(), interval[1].get<double>())
                                 : pur.value("reason", std::string())});
    }
    row.resize(9, "-");
    ours.add(row);
  }
  fmt::print("\n{}\nlast block alone, readout fixed, eta from another batch; gamma and rho of its credit:\n{}\n",
             table.text(), ours.text());
}

std::vector<std::string> judgement(const Json& results) {
  int early = 0, late = 0;
  for (const auto& r : results) {
    if (r["method"] != "vec_eT_M4" || !r["dl_held_1"].is_number() || !(r["dl_held_1"].get<double>() > 0)) continue;
    if (r["snapshot_epoch"] <= 20) ++early;
    if (r["snapshot_epoch"] >= 50) ++late;
  }
  if (early == 0 && late > 0) {
    return {"LATE-SNAPSHOT ARTIFACT: held-out failure only at late snapshots.",
            "Early-training local updates with good credit DO generalize."};
  }
  if (early > 0 && late > 0) {
    return {"ACROSS-TRAINING FAILURE: held-out degradation at both early and late snapshots.",
            "Problem is NOT just late-snapshot overfitting."};
  }
  return {"NEED MORE DATA: check results table above."};
}

}  // namespace sweep
