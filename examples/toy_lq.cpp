// Trains learned credit sources on noisy linear dynamics whose exact credit, the costate, is known in closed form
// (docs/experiments/toy_lq.md).

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <chrono>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/state_predictor.hpp>
#include <creditlib/credit/value_net.hpp>
#include <creditlib/credit/vec.hpp>
#include <creditlib/data/batches.hpp>
#include <creditlib/diagnostics/alignment.hpp>
#include <creditlib/diagnostics/nudging.hpp>
#include <creditlib/diagnostics/perturbation_correlation.hpp>
#include <creditlib/diagnostics/ridge_control.hpp>
#include <creditlib/io/json_file.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <creditlib/objective/squared_error.hpp>
#include <limits>
#include <set>

#include "support/figures.hpp"
#include "support/linear_quadratic.hpp"
#include "support/live_line.hpp"
#include "support/program.hpp"
#include "support/resume.hpp"
#include "support/training.hpp"

namespace {

namespace diagnostics = creditlib::diagnostics;
using creditlib::data::Batch;
using Json = nlohmann::ordered_json;
using Tensors = std::vector<torch::Tensor>;

const std::vector<std::string> method_names{"dfa",         "state_predictor", "value_net", "vec", "state_predictor_y",
                                            "value_net_y", "vec_y",           "ridge"};

struct Settings {
  std::int64_t steps = 8000, d = 64, L = 12, outputs = 10, batch = 256, seed = 42, M = 4, eval_samples = 1024,
               ridge_samples = 4096;
  double noise = 0.03, target_deviation = 1, eta = 0.01, term_grad_weight = 0, lr_fb = 0;
  std::string dynamics = "orthogonal", output_dir = "results/toy_lq";
  std::vector<std::string> methods = method_names;
  int threads = 0;
  bool retrain = false, quiet = false;
};

void add_flags(CLI::App& app, Settings& s) {
  using support::flag;
  const auto count = [&](const std::string& name, std::int64_t& value, const char* what) {
    app.add_option(flag(name), value, what)
        ->check(CLI::Range(std::int64_t{1}, std::numeric_limits<std::int64_t>::max()))
        ->capture_default_str();
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
      ->check(CLI::IsMember(method_names))
      ->capture_default_str();
  number("lr_fb", s.lr_fb, "learning rate of the sources' nets (0: each source's own, 3e-4, vec 1e-3)");
  count("M", s.M, "directions of vec's perturbation targets");
  number("term_grad_weight", s.term_grad_weight, "weight of value_net's terminal gradient matching");
  app.add_option("--eta", s.eta, "how far the nudge moves a state")->check(support::positive())->capture_default_str();
  count("eval_samples", s.eval_samples, "samples that figures are measured on");
  count("ridge_samples", s.ridge_samples, "samples that the ridge control is fitted on");
  app.add_option("--seed", s.seed, "of the dynamics, the nets, the feedback and the batches")->capture_default_str();
  app.add_option(flag("output_dir"), s.output_dir, "where toy_lq_L{L}_d{d}_s{seed}.json goes")->capture_default_str();
  app.add_option("--threads", s.threads, "threads of LibTorch (0: as it chooses)")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_flag("--retrain", s.retrain, "replace finished results instead of keeping them");
  app.add_flag("--quiet", s.quiet, "no progress, only the outcome");
}

Json config(const Settings& s) {
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

/// A learned source whose nets see the target y where they would see the error e. e is the loss, nearly: a net that is
/// told e can predict the loss without looking at the state.
template <class Source>
struct SeesTarget {
  Source source;

  template <class Inner>
  struct State {
    Inner inner;

    template <class Model>
    Tensors credit(Model& model, const creditlib::Trace& trace) const {
      return inner.credit(model, seen(trace));
    }
    template <class Model>
    void learn(Model& model, const creditlib::Trace& trace) {
      trace.loss_gradient();  // of the true error, kept by the graph that both traces share
      inner.learn(model, seen(trace));
    }
    creditlib::NamedTensors named_tensors() const { return inner.named_tensors(); }

   private:
    static creditlib::Trace seen(creditlib::Trace trace) {
      trace.error = trace.target;
      return trace;
    }
  };

  template <class Model>
  auto bind(Model& model, const creditlib::BindContext& context) const {
    return State<decltype(source.bind(model, context))>{source.bind(model, context)};
  }
};

/// States x ~ N(0, 1) and targets y ~ N(0, deviation^2), fresh each time. The dynamics' noise comes from LibTorch's
/// global generator, which is seeded anew for each batch: the library puts it back after what must not be seen.
class Samples {
 public:
  Samples(const Settings& s, std::uint64_t stream)
      : s_(s), generator_(diagnostics::seeded(static_cast<std::uint64_t>(s.seed), stream)) {}

  Batch next(std::int64_t n) {
    const torch::TensorOptions options(torch::kFloat32);
    torch::manual_seed(static_cast<std::uint64_t>(
        torch::randint(0, std::int64_t{1} << 53, {1}, generator_, torch::kInt64).item<std::int64_t>()));
    auto x = at::randn({n, s_.d}, generator_, options);
    return {x, at::randn({n, s_.outputs}, generator_, options) * s_.target_deviation};
  }

 private:
  const Settings& s_;
  torch::Generator generator_;
};

class Experiment {
 public:
  explicit Experiment(const Settings& s)
      : s_(s),
        path_(std::filesystem::path(s.output_dir) / fmt::format("toy_lq_L{}_d{}_s{}.json", s.L, s.d, s.seed)),
        config_(config(s)),
        model_({.width = s.d,
                .blocks = s.L,
                .outputs = s.outputs,
                .noise = s.noise,
                .orthogonal = s.dynamics == "orthogonal",
                .seed = s.seed}) {
    Samples evaluation(s, evaluation_stream);
    held_ = evaluation.next(s.eval_samples);
    noise_ = at::globalContext().defaultGenerator(torch::kCPU).get_state();
    const auto exact = diagnostics::errors_and_gradients(model_, std::vector<Batch>{held_}, creditlib::SquaredError{});
    errors_ = exact.errors;
    costates_ = model_->costates(errors_);
    for (std::size_t l = 0; l < costates_.size(); ++l) {
      const double distance = ((exact.gradients[l] - costates_[l]).norm() / costates_[l].norm()).item<double>();
      costate_distance_ = std::max(costate_distance_, distance);
    }
    held_gradients_ = exact;
    layer_norm_ceiling_ =
        support::mean_of(cosines(through_layer_norm(diagnostics::hidden_states(model_, held_.input))));
  }

  void run() {
    const auto earlier = s_.retrain ? Json(nullptr) : support::earlier_results(path_, config_, {"methods"});
    support::keep_listed(config_, earlier, {"methods"});
    if (earlier.is_object()) results_ = earlier["results"];
    for (const auto& name : s_.methods) {
      if (results_.contains(name)) {
        fmt::print("{}: finished before, kept (--retrain makes it anew)\n", name);
        continue;
      }
      run_method(name);
      write();
    }
    write();
    report();
  }

 private:
  static constexpr std::uint64_t evaluation_stream = 1, ridge_stream = 2, training_stream = 3;

  void run_method(const std::string& name) {
    const double lr = s_.lr_fb;
    creditlib::StatePredictor predictor;
    creditlib::ValueNet value{.terminal_gradient_weight = s_.term_grad_weight};
    creditlib::Vec vec{.directions = s_.M};
    if (lr > 0) predictor.lr = value.lr = vec.lr = lr;
    if (name == "ridge") return ridge();
    if (name == "dfa") return train(name, creditlib::DFA{}, 0);
    if (name == "state_predictor") return train(name, predictor, s_.steps);
    if (name == "value_net") return train(name, value, s_.steps);
    if (name == "vec") return train(name, vec, s_.steps);
    if (name == "state_predictor_y") return train(name, SeesTarget<creditlib::StatePredictor>{predictor}, s_.steps);
    if (name == "value_net_y") return train(name, SeesTarget<creditlib::ValueNet>{value}, s_.steps);
    return train(name, SeesTarget<creditlib::Vec>{vec}, s_.steps);
  }

  template <class Source>
  void train(const std::string& name, const Source& source, std::int64_t steps) {
    using Clock = std::chrono::steady_clock;
    creditlib::LocalTrainer trainer(model_, source, {.epochs = 1, .seed = s_.seed}, creditlib::Always{},
                                    creditlib::Raw{}, creditlib::InnerProduct{}, creditlib::SquaredError{});
    const auto credits = [&] {
      same_noise();
      return trainer.raw_credits(held_.input, held_.target);
    };
    Samples fresh(s_, training_stream);
    Json curve = Json::array();
    const auto start = Clock::now();
    const auto seconds = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
    const std::int64_t every = std::max<std::int64_t>(1, steps / 20);
    support::LiveLine line(s_.quiet);
    for (std::int64_t step = 0; step < steps; ++step) {
      if (step % every == 0) {
        const Json cosine = support::mean_of(cosines(credits()));
        curve.push_back({step, cosine});
        line.clear();
        if (!s_.quiet)
          fmt::print("{}: step {}/{}, costate cosine {}, {:.0f} s\n", name, step, steps, text(cosine, 4), seconds());
        std::fflush(stdout);
      }
      const auto [x, y] = fresh.next(s_.batch);
      trainer.learn(x, y);
      line.show([&] {
        return fmt::format("{}: step {}/{}, {:.0f} s left", name, step + 1, steps,
                           seconds() / static_cast<double>(step + 1) * static_cast<double>(steps - step - 1));
      });
      if (support::interrupted()) throw support::Interrupted();
    }
    line.clear();
    const double spent = seconds();
    results_[name] = measured(credits());
    curve.push_back({steps, results_[name]["costate_cosine"]});
    results_[name]["steps"] = steps;
    results_[name]["curve"] = curve;
    results_[name]["seconds"] = spent;
    announce(name);
  }

  void ridge() {
    Samples samples(s_, ridge_stream);
    const std::vector<Batch> batch{samples.next(s_.ridge_samples)};
    const auto fits = diagnostics::ridge_control(
        diagnostics::errors_and_gradients(model_, batch, creditlib::SquaredError{}), held_gradients_);
    Tensors credits(1);
    for (std::size_t l = 1; l < fits.size(); ++l) {
      credits.push_back(fits[l].weights.defined() ? fits[l].credit(errors_, held_gradients_.gradients[l])
                                                  : torch::Tensor());
    }
    results_["ridge"] = measured(credits);
    announce("ridge");
  }

  /// The noise that the figures' batch has had from the start.
  void same_noise() const {
    auto generator = at::globalContext().defaultGenerator(torch::kCPU);
    generator.set_state(noise_);
  }

  /// The costates without what no gradient through a LayerNorm of h has: their parts along h (less its mean) and along
  /// (1, …, 1).
  Tensors through_layer_norm(const Tensors& hidden) const {
    Tensors kept;
    for (std::size_t l = 0; l < hidden.size(); ++l) {
      const auto h = hidden[l].to(torch::kFloat64);
      const auto along = diagnostics::unit_rows(h - h.mean(1, /*keepdim=*/true));
      const auto centred = costates_[l] - costates_[l].mean(1, /*keepdim=*/true);
      kept.push_back(centred - (centred * along).sum(1, /*keepdim=*/true) * along);
    }
    return kept;
  }

  /// At h_1..h_L.
  std::vector<diagnostics::Measured> cosines(const Tensors& credits) const {
    std::vector<diagnostics::Measured> cosines;
    for (std::size_t l = 1; l < credits.size(); ++l)
      cosines.push_back(diagnostics::alignment(credits[l], costates_[l]));
    return cosines;
  }

  Json measured(const Tensors& credits) {
    using diagnostics::Measured;
    same_noise();
    const auto& [x, y] = held_;
    const creditlib::SquaredError objective;
    const auto correlations = diagnostics::perturbation_correlation(model_, x, y, credits, {}, objective);
    const auto nudges = diagnostics::nudging(model_, x, y, credits, {.etas = {s_.eta}}, objective);
    std::vector<Measured> rho, nudge, backprop;
    Json rho_intervals = Json::array();
    for (std::size_t l = 1; l < credits.size(); ++l) {
      const auto& found = correlations[l].rho;
      rho.push_back(found);
      rho_intervals.push_back(found.interval ? Json{found.interval->low, found.interval->high} : Json(nullptr));
      nudge.push_back(nudges[l].at(0).change);
      backprop.push_back(nudges[l].at(0).backprop);
    }
    const auto cosine = cosines(credits);
    return {
        {"costate_cosine", support::mean_of(cosine)},
        {"rho", support::mean_of(rho)},
        {"nudge", support::mean_of(nudge)},
        {"nudge_backprop", support::mean_of(backprop)},
        {"costate_cosine_per_layer", support::values(cosine)},
        {"rho_per_layer", support::values(rho)},
        {"rho_interval_per_layer", rho_intervals},
        {"nudge_per_layer", support::values(nudge)},
        {"nudge_backprop_per_layer", support::values(backprop)},
        {"undefined",
         support::reasons({{"costate_cosine_per_layer", cosine}, {"rho_per_layer", rho}, {"nudge_per_layer", nudge}})}};
  }

  static std::string text(const Json& value, int digits) {
    return value.is_number() ? fmt::format("{:.{}f}", value.get<double>(), digits) : std::string("null");
  }

  void announce(const std::string& name) const {
    if (s_.quiet) return;
    const auto& r = results_[name];
    fmt::print("{}: costate cosine {}, rho {}, nudge {}\n", name, text(r["costate_cosine"], 4), text(r["rho"], 4),
               text(r["nudge"], 5));
    std::fflush(stdout);
  }

  void write() const {
    const auto median_norm = [](const torch::Tensor& t) { return t.norm(2, 1).median().item<double>(); };
    creditlib::io::write_json(path_,
                              {{"results", results_},
                               {"costate_distance_to_autograd", costate_distance_},
                               {"layer_norm_ceiling", layer_norm_ceiling_},
                               {"costate_norm_first_last", {median_norm(costates_[1]), median_norm(costates_.back())}},
                               {"config", config_},
                               {"environment", support::environment("cpu")}});
  }

  void report() const {
    support::Table table({"rule", "costate cosine", "rho", fmt::format("nudge {:g}", s_.eta), "of exact",
                          "cosine at h_1", "at the middle", "at h_L"});
    for (const auto& name : s_.methods) {
      const auto& r = results_[name];
      const auto& layers = r["costate_cosine_per_layer"];
      const Json share = r["nudge"].is_number() && r["nudge_backprop"].is_number()
                             ? Json(r["nudge"].get<double>() / r["nudge_backprop"].get<double>())
                             : Json();
      table.add({name, text(r["costate_cosine"], 4), text(r["rho"], 4), text(r["nudge"], 5), text(share, 3),
                 text(layers[0], 3), text(layers[layers.size() / 2], 3), text(layers[layers.size() - 1], 3)});
    }
    fmt::print("\n{}\n", table.text());
    fmt::print("costate cosine of the best gradient of any function of LayerNorm(h): {}\n",
               text(layer_norm_ceiling_, 4));
    fmt::print("costate: closed form and autograd differ by {:.1e} of its norm\nresults: {}\n", costate_distance_,
               path_.string());
  }

  const Settings& s_;
  std::filesystem::path path_;
  Json config_;
  support::LinearQuadratic model_;
  Batch held_;
  torch::Tensor noise_, errors_;
  Tensors costates_;
  double costate_distance_ = 0;
  Json layer_norm_ceiling_;
  diagnostics::ErrorsAndGradients held_gradients_;
  Json results_ = Json::object();
};

void run(const Settings& s) {
  const std::set<std::string> distinct(s.methods.begin(), s.methods.end());
  if (distinct.size() != s.methods.size()) throw support::UsageError("--methods names a rule twice");
  if (s.ridge_samples < 2) throw support::UsageError("--ridge_samples is 1, expected at least 2");
  creditlib::io::check_writable_folder(s.output_dir);
  if (s.threads > 0) at::set_num_threads(s.threads);
  Experiment(s).run();
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Measures credit rules on noisy linear dynamics whose exact credit is known in closed form.", "toy_lq");
  Settings settings;
  add_flags(app, settings);
  return support::run_program(app, argc, argv, [&] { run(settings); });
}
