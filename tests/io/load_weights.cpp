// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/io/load_weights.hpp>
#include <creditlib/io/safetensors.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <cstdlib>
#include <limits>
#include <memory>

#include "../temporary_folder.hpp"
#include "files.hpp"

using namespace creditlib;
using creditlib::test::check_error;
using creditlib::test::read_file;
using creditlib::test::TemporaryFolder;
using creditlib::test::write_file;

namespace {

namespace nn = torch::nn;
using Names = std::vector<std::string>;

struct TiedHeadImpl : nn::Module {
  explicit TiedHeadImpl(const torch::Tensor& w)
      : weight(register_parameter("weight", w)), bias(register_parameter("bias", torch::zeros({w.size(0)}))) {}
  torch::Tensor forward(const torch::Tensor& h) { return nn::functional::linear(h, weight, bias); }
  torch::Tensor weight, bias;
};
TORCH_MODULE(TiedHead);

// The network of that name in python_weights.py; its head's weight is that of the embedding.
struct TwinImpl : nn::Module {
  torch::Tensor forward(const torch::Tensor& x) { return head(body->forward(torch::relu(bn(conv(x))).flatten(1))); }

  nn::Conv2d conv = register_module("conv", nn::Conv2d(nn::Conv2dOptions(3, 4, 3)));
  nn::BatchNorm2d bn = register_module("bn", nn::BatchNorm2d(4));
  nn::Sequential body = register_module(
      "body", nn::Sequential(nn::Linear(64, 16), nn::GELU(), nn::LayerNorm(nn::LayerNormOptions({16}))));
  nn::Embedding embed = register_module("embed", nn::Embedding(10, 16));
  TiedHead head = register_module("head", TiedHead(embed->weight));
};
TORCH_MODULE(Twin);

nn::Sequential two_layers(std::int64_t classes = 2) { return nn::Sequential(nn::Linear(3, 4), nn::Linear(4, classes)); }

NamedTensors copy_of(const nn::Module& module) {
  NamedTensors named;
  for (const auto& entry : module.named_parameters()) named.emplace_back(entry.key(), entry.value().detach().clone());
  for (const auto& entry : module.named_buffers()) named.emplace_back(entry.key(), entry.value().detach().clone());
  return named;
}

bool equal_tensors(const NamedTensors& a, const NamedTensors& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& left, const auto& right) {
    return left.first == right.first && left.second.equal(right.second);
  });
}

NamedTensors without(NamedTensors named, const std::string& name) {
  std::erase_if(named, [&](const auto& entry) { return entry.first == name; });
  return named;
}

/// Checks that nothing of the module changes when `action` throws Error with these parts.
template <class Action>
void check_unloaded(const nn::Module& module, Action&& action, std::initializer_list<std::string> parts) {
  const auto before = copy_of(module);
  check_error(std::forward<Action>(action), parts);
  CHECK(equal_tensors(copy_of(module), before));
}

/// A folder with what python_weights.py wrote, or nullptr if there is no Python with torch.
std::unique_ptr<TemporaryFolder> weights_from_python() {
  const char* python = std::getenv("CREDITLIB_PYTHON");
  auto folder = std::make_unique<TemporaryFolder>();
  if (python == nullptr || *python == '\0') return nullptr;
  const auto script = std::filesystem::path(CREDITLIB_TESTS_DIR) / "io" / "python_weights.py";
  const auto line = std::string("'") + python + "' '" + script.string() + "' '" + folder->path().string() + "'";
  const int code = WEXITSTATUS(std::system(line.c_str()));
  if (code == 77) return nullptr;
  REQUIRE(code == 0);
  return folder;
}

}  // namespace

TEST_CASE("the state_dict of a Python module gives its C++ twin the same outputs, whole and sharded", "[io]") {
  const auto folder = weights_from_python();
  if (!folder) {
    SUCCEED("skipped: CREDITLIB_PYTHON names no Python that has safetensors and torch");
    return;
  }
  io::SafetensorsFile run(*folder / "run.safetensors");

  for (const auto* file : {"twin.safetensors", "twin.safetensors.index.json"}) {
    INFO(file);
    Twin twin;
    const auto result = io::load_weights(twin, *folder / file);

    CHECK(result.complete());
    CHECK(result.loaded.size() == 13);  // the tied weight once
    twin->eval();
    CHECK(torch::allclose(twin->forward(run.tensor("x")), run.tensor("y"), 1e-5, 1e-6));
    CHECK(twin->bn->num_batches_tracked.item<int>() == 1);
    CHECK(twin->head->weight.is_set_to(twin->embed->weight));
  }

  const auto packed = io::read_safetensors(*folder / "packed.safetensors").tensors;
  CHECK(packed.size() == 4);
  for (const auto& [name, tensor] : packed) {
    INFO(name);
    CHECK(tensor.sizes() == torch::IntArrayRef({2, 3}));
    CHECK(tensor.view(torch::kUInt8).equal(torch::arange(6, torch::kUInt8).view({2, 3})));
  }
}

TEST_CASE("weights are copied in place: storage, requires_grad and dtype stay", "[io]") {
  const TemporaryFolder folder;
  auto source = two_layers(), target = two_layers();
  target->to(torch::kFloat64);
  target->parameters()[0].requires_grad_(false);
  const auto* memory = target->parameters()[0].data_ptr();
  io::write_safetensors(folder / "file", copy_of(*source));

  const auto result = io::load_weights(target, folder / "file");

  CHECK(result.complete());
  CHECK(result.loaded == Names{"0.weight", "0.bias", "1.weight", "1.bias"});
  CHECK(result.text() == "4 tensors loaded");
  CHECK(target->parameters()[0].data_ptr() == memory);
  CHECK_FALSE(target->parameters()[0].requires_grad());
  CHECK(target->parameters()[1].requires_grad());
  CHECK(target->parameters()[1].is_leaf());
  for (std::size_t i = 0; i < 4; ++i) CHECK(target->parameters()[i].equal(source->parameters()[i].to(torch::kFloat64)));
}

TEST_CASE("a module is given as it is, by a holder, or by a pointer", "[io]") {
  const TemporaryFolder folder;
  const auto source = two_layers();
  io::write_safetensors(folder / "file", copy_of(*source));
  const auto loads = [&](const auto& given, const nn::Module& module) {
    CHECK(io::load_weights(given, folder / "file").loaded.size() == 4);
    CHECK(equal_tensors(copy_of(module), copy_of(*source)));
  };

  auto holder = two_layers();
  loads(holder, *holder);
  auto raw = two_layers();
  loads(*raw, *raw);
  auto shared = two_layers();
  loads(std::shared_ptr<nn::Module>(shared.ptr()), *shared);
  auto pointer = two_layers();
  loads(pointer.get(), *pointer);
  nn::LinearImpl local(4, 2);
  io::write_safetensors(folder / "local", copy_of(*nn::Linear(4, 2)));
  CHECK(io::load_weights(local, folder / "local").loaded.size() == 2);

  check_error([&] { io::load_weights(nn::Linear(nullptr), folder / "file"); }, {"load_weights: the module is empty"});
}

TEST_CASE("strict: every difference is listed, and nothing is loaded", "[io]") {
  const TemporaryFolder folder;
  auto target = two_layers();
  auto tensors = without(copy_of(*two_layers(5)), "0.bias");
  tensors.emplace_back("extra", torch::zeros({1}));
  io::write_safetensors(folder / "file", tensors);

  check_unloaded(
      *target, [&] { io::load_weights(target, folder / "file"); },
      {(folder / "file").string() + "\" does not fit the module, and nothing is loaded",
       "1 missing in the file: 0.bias", "1 left over in the file: extra",
       "2 of another shape: 1.weight, (5, 4) in the file, (2, 4) in the module, 1.bias, (5) in the file, (2) in "
       "the module",
       "strict = false"});

  NamedTensors many;
  for (int i = 0; i < 25; ++i) many.emplace_back("m." + std::to_string(i), torch::zeros({1}));
  for (auto& entry : copy_of(*target)) many.push_back(entry);
  io::write_safetensors(folder / "many", many);
  check_unloaded(*target, [&] { io::load_weights(target, folder / "many"); },
                 {"25 left over in the file: m.0, ", ", and 5 more"});
}

TEST_CASE("not strict: what fits is loaded, the rest is returned and stays", "[io]") {
  const TemporaryFolder folder;
  auto target = two_layers();
  const auto before = copy_of(*target);
  auto tensors = without(copy_of(*two_layers(5)), "0.bias");
  tensors.emplace_back("extra", torch::zeros({1}));
  io::write_safetensors(folder / "file", tensors);

  const auto result = io::load_weights(target, folder / "file", {.strict = false});

  CHECK_FALSE(result.complete());
  CHECK(result.loaded == Names{"0.weight"});
  CHECK(result.missing == Names{"0.bias"});
  CHECK(result.left_over == Names{"extra"});
  REQUIRE(result.other_shape.size() == 2);
  CHECK(result.other_shape[0].name == "1.weight");
  CHECK(result.other_shape[0].in_file == std::vector<std::int64_t>{5, 4});
  CHECK(result.other_shape[0].in_module == std::vector<std::int64_t>{2, 4});
  CHECK(result.text().starts_with("1 tensor loaded; 1 missing in the file: 0.bias; 1 left over"));
  CHECK(target->parameters()[0].equal(tensors[0].second));
  CHECK(equal_tensors(without(copy_of(*target), "0.weight"), without(before, "0.weight")));
}

TEST_CASE("shapes of as many elements, or that could be broadcast, do not fit", "[io]") {
  const TemporaryFolder folder;
  nn::Linear target(3, 1);
  for (const auto& weight : {torch::ones({3}), torch::ones({3, 1}), torch::ones({1, 1}), torch::ones({})}) {
    io::write_safetensors(folder / "file", {{"weight", weight}, {"bias", torch::ones({1})}});
    check_unloaded(*target, [&] { io::load_weights(target, folder / "file"); }, {"1 of another shape: weight"});
  }
}

TEST_CASE("floating types convert, all others must be equal", "[io]") {
  const TemporaryFolder folder;
  const auto load = [&](const torch::Tensor& stored, torch::Dtype dtype) {
    nn::Module module;
    const auto parameter = module.register_buffer("b", torch::full({2}, 7, torch::kFloat32).to(dtype));
    io::write_safetensors(folder / "file", {{"b", stored}, {"fits", torch::ones({1})}});
    module.register_buffer("fits", torch::zeros({1}));
    const auto result = io::load_weights(module, folder / "file", {.strict = false});
    CHECK(parameter.to(torch::kFloat64).eq(result.complete() ? 1 : 7).all().item<bool>());
    return result;
  };
  for (const auto from : {torch::kFloat64, torch::kFloat32, torch::kFloat16, torch::kBFloat16}) {
    for (const auto to : {torch::kFloat64, torch::kFloat32, torch::kFloat16, torch::kBFloat16}) {
      CHECK(load(torch::ones({2}, from), to).complete());
    }
  }
  CHECK(load(torch::ones({2}, torch::kInt64), torch::kInt64).complete());
  CHECK(load(torch::ones({2}).to(torch::kFloat8_e4m3fn), torch::kFloat8_e4m3fn).complete());
  for (const auto& [from, to] :
       std::vector<std::pair<torch::Dtype, torch::Dtype>>{{torch::kInt64, torch::kFloat32},
                                                          {torch::kFloat32, torch::kInt64},
                                                          {torch::kInt32, torch::kInt64},
                                                          {torch::kUInt8, torch::kInt8},
                                                          {torch::kFloat8_e4m3fn, torch::kFloat32},
                                                          {torch::kComplexFloat, torch::kFloat32}}) {
    const auto result = load(torch::ones({2}).to(from), to);
    REQUIRE(result.other_dtype.size() == 1);
    CHECK(result.differences() == "1 of another dtype: b, " + creditlib::detail::dtype_text(from) + " in the file, " +
                                      creditlib::detail::dtype_text(to) + " in the module");
  }
}

TEST_CASE("numbers beyond the module's dtype are refused, infinities and NaN of the file are not", "[io]") {
  const TemporaryFolder folder;
  auto target = nn::Linear(nn::LinearOptions(2, 1).bias(false));
  target->to(torch::kFloat16);
  io::write_safetensors(folder / "file", {{"weight", torch::tensor({{1.f, 1e6f}})}});
  check_unloaded(*target, [&] { io::load_weights(target, folder / "file"); },
                 {"float32 numbers for \"weight\" that are beyond the range of float16", "wider dtype"});

  const float infinity = std::numeric_limits<float>::infinity();
  io::write_safetensors(folder / "file", {{"weight", torch::tensor({{NAN, -infinity}})}});
  io::load_weights(target, folder / "file");
  CHECK(target->weight[0][0].isnan().item<bool>());
  CHECK(target->weight[0][1].item<float>() == -infinity);
}

TEST_CASE("tied weights: one name is enough, two must agree", "[io]") {
  const TemporaryFolder folder;
  const auto tensors = copy_of(*Twin());
  const auto other = torch::randn({10, 16});
  for (const auto* name : {"head.weight", "embed.weight"}) {
    Twin twin;
    io::write_safetensors(folder / "file", without(tensors, name));
    CHECK(io::load_weights(twin, folder / "file").complete());
    CHECK(equal_tensors(copy_of(*twin), tensors));
  }
  Twin twin;
  io::write_safetensors(folder / "file", tensors);
  CHECK(io::load_weights(twin, folder / "file").loaded.size() == 14);
  CHECK(equal_tensors(copy_of(*twin), tensors));

  auto torn = without(tensors, "head.weight");
  torn.emplace_back("head.weight", other);
  io::write_safetensors(folder / "file", torn);
  check_unloaded(*twin, [&] { io::load_weights(twin, folder / "file", {.strict = false}); },
                 {"weight\" shares memory with another tensor of the module", "different numbers"});

  io::write_safetensors(folder / "file", without(without(tensors, "head.weight"), "embed.weight"));
  check_unloaded(*twin, [&] { io::load_weights(twin, folder / "file"); },
                 {"2 missing in the file: embed.weight, head.weight"});
}

TEST_CASE("a view is not missing if all of it is loaded, and is if only a part is", "[io]") {
  const TemporaryFolder folder;
  nn::Module module;
  const auto whole = module.register_buffer("whole", torch::zeros({2, 3}));
  module.register_buffer("transposed", whole.t());
  module.register_buffer("row", whole[1]);

  io::write_safetensors(folder / "file", {{"transposed", torch::ones({3, 2})}});
  CHECK(io::load_weights(module, folder / "file").complete());
  CHECK(whole.eq(1).all().item<bool>());

  io::write_safetensors(folder / "file", {{"row", torch::zeros({3})}});
  const auto result = io::load_weights(module, folder / "file", {.strict = false});
  CHECK(result.missing == Names{"whole", "transposed"});
  CHECK(whole.sum().item<float>() == 3);

  io::write_safetensors(folder / "file", {{"row", torch::zeros({3})}, {"transposed", torch::ones({3, 2})}});
  check_unloaded(module, [&] { io::load_weights(module, folder / "file", {.strict = false}); }, {"shares memory"});
}

TEST_CASE("prefix and rename turn the file's names into the module's", "[io]") {
  const TemporaryFolder folder;
  const auto source = two_layers();
  auto target = two_layers();
  const auto named_in_file = [&](const std::string& first, const std::string& second) {
    NamedTensors tensors;
    for (const auto& [name, tensor] : copy_of(*source)) {
      tensors.emplace_back((name.starts_with("0") ? first : second) + name.substr(1), tensor);
    }
    return tensors;
  };
  const auto loads = [&](const NamedTensors& tensors, const io::LoadWeightsOptions& options) {
    torch::NoGradGuard no_grad;
    for (auto& parameter : target->parameters()) parameter.zero_();
    io::write_safetensors(folder / "file", tensors);
    CHECK(io::load_weights(target, folder / "file", options).complete());
    CHECK(equal_tensors(copy_of(*target), copy_of(*source)));
  };

  auto tensors = prefixed("model", copy_of(*source));
  tensors.emplace_back("optimizer.step", torch::ones({1}));
  loads(tensors, {.prefix = "model."});
  loads(named_in_file("net.body", "net.head"),
        {.prefix = "net.", .rename = {{"body", "0"}, {"head.weight", "1.weight"}, {"head.bias", "1.bias"}}});
  loads(named_in_file("a.b", "a.1"), {.rename = {{"a.b", "0"}, {"a", ""}}});
  loads(named_in_file("ab", "a"), {.rename = {{"a", "1"}, {"ab", "0"}}});  // "a" is not the beginning of "ab.weight"

  nn::Module outer;
  outer.register_module("net", two_layers().ptr());
  io::write_safetensors(folder / "file", copy_of(*source));
  CHECK(io::load_weights(outer, folder / "file", {.rename = {{"", "net"}}}).complete());
}

TEST_CASE("a prefix or a rename that does nothing, and names that meet, are refused", "[io]") {
  const TemporaryFolder folder;
  auto target = two_layers();
  io::write_safetensors(folder / "file", copy_of(*two_layers()));
  const auto refuses = [&](io::LoadWeightsOptions options, std::initializer_list<std::string> parts) {
    options.strict = false;
    check_unloaded(*target, [&] { io::load_weights(target, folder / "file", options); }, parts);
  };

  refuses({.prefix = "model."}, {"has no tensor whose name begins with \"model.\""});
  refuses({.prefix = "0"},
          {"no tensor of", "fits the module", "4 missing", "2 left over in the file: 0.bias, 0.weight"});
  refuses({.rename = {{"2", "0"}}}, {"has no tensor to rename from \"2\" to \"0\""});
  refuses({.rename = {{"0.", "1."}}}, {"has no tensor to rename from \"0.\""});
  refuses({.rename = {{"0", "1"}}}, {"which are both \"1.", "after renaming"});
}

TEST_CASE("tensors of a module that cannot be copied into are named, and nothing is loaded", "[io]") {
  const TemporaryFolder folder;
  io::write_safetensors(folder / "file", {{"a", torch::ones({2, 2})}, {"b", torch::ones({2, 2})}});
  for (const auto& bad : {torch::zeros({1, 2}).expand({2, 2}), torch::zeros({2, 2}).to(torch::kMeta)}) {
    nn::Module module;
    const auto a = module.register_buffer("a", torch::zeros({2, 2}));
    module.register_buffer("b", bad);
    check_error([&] { io::load_weights(module, folder / "file"); }, {"\"b\" of the module, (2, 2) float32 on "});
    CHECK(a.eq(0).all().item<bool>());
  }
}

TEST_CASE("a tensor that cannot be read leaves the module as it was", "[io]") {
  const TemporaryFolder folder;
  nn::Module module;
  module.register_buffer("a", torch::zeros({2}));
  module.register_buffer("b", torch::zeros({2}, torch::kBool));
  io::write_safetensors(folder / "file", {{"a", torch::ones({2})}, {"b", torch::ones({2}, torch::kBool)}});
  auto bytes = read_file(folder / "file");
  bytes.back() = '\2';
  write_file(folder / "file", bytes);

  check_unloaded(module, [&] { io::load_weights(module, folder / "file"); },
                 {"load_weights: \"" + (folder / "file").string(), "in the BOOL tensor \"b\""});
  check_error([&] { io::load_weights(module, folder / "none"); }, {"load_weights: ", "cannot be found"});
}

TEST_CASE("the shards that an index names are read, and must be those of one save", "[io]") {
  const TemporaryFolder folder;
  const auto index = folder / "model.safetensors.index.json";
  const auto source = two_layers();
  auto target = two_layers();
  const auto tensors = copy_of(*source);
  io::write_safetensors(folder / "1.safetensors", {tensors[0], tensors[1]});
  io::write_safetensors(folder / "2.safetensors", {tensors[2], tensors[3]});
  const auto indexed = [&](const std::string& last) {
    write_file(index, R"({"weight_map": {"0.weight": "1.safetensors", "0.bias": "1.safetensors", )"
                      R"("1.weight": "2.safetensors", )" +
                          last + "}}");
  };
  const auto refuses = [&](std::initializer_list<std::string> parts) {
    check_unloaded(*target, [&] { io::load_weights(target, index); }, {"load_weights: \"" + index.string()});
    check_unloaded(*target, [&] { io::load_weights(target, index); }, parts);
  };

  indexed(R"("1.bias": "3.safetensors")");
  refuses({"does not have the tensor \"1.bias\" in", "2.safetensors\", which has it"});
  indexed(R"("1.bias": "2.safetensors", "2.bias": "2.safetensors")");
  refuses({"has the tensor \"2.bias\" in", "2.safetensors\", which does not have it"});
  indexed(R"("1.bias": "../2.safetensors")");
  refuses({"maps \"1.bias\" to \"../2.safetensors\", expected the name of a file in its own folder"});
  indexed(R"("1.bias": 2)");
  refuses({"maps \"1.bias\" to number"});
  write_file(index, R"({"tensors": {}})");
  refuses({"has no object \"weight_map\""});

  indexed(R"("1.bias": "2.safetensors")");
  CHECK(io::load_weights(target, index).complete());
  CHECK(equal_tensors(copy_of(*target), tensors));

  std::filesystem::remove(folder / "2.safetensors");
  refuses({"has the tensor \"1.bias\" in", "2.safetensors\", which cannot be found", "all 2 files"});
  CHECK(io::load_weights(*target[0], index, {.prefix = "0."}).complete());  // needs the first shard alone
}

TEST_CASE("a trainer's checkpoint gives a network its body, with a new head", "[io]") {
  const TemporaryFolder folder;
  const auto checkpoint = folder / "run.pt";
  ResidualMLP trained({.input = 6, .width = 8, .classes = 3, .blocks = 2});
  LocalTrainer trainer(trained, DFA{}, {});
  trainer.step(torch::randn({4, 6}), torch::tensor({0, 1, 2, 0}));
  trainer.save(checkpoint);

  ResidualMLP same({.input = 6, .width = 8, .classes = 3, .blocks = 2});
  CHECK(io::load_weights(same, checkpoint, {.prefix = "model."}).complete());
  CHECK(equal_tensors(copy_of(*same), copy_of(*trained)));

  ResidualMLP model({.input = 6, .width = 8, .classes = 5, .blocks = 2});
  const auto result = io::load_weights(*model, checkpoint, {.strict = false, .prefix = "model."});
  REQUIRE(result.other_shape.size() == 2);
  CHECK(result.other_shape[0].name == "out_head.weight");
  CHECK(result.other_shape[1].name == "out_head.bias");
  CHECK(result.missing.empty());
  CHECK(result.left_over.empty());
  const auto body = [](const nn::Module& module) {
    return without(without(copy_of(module), "out_head.weight"), "out_head.bias");
  };
  CHECK(equal_tensors(body(*model), body(*trained)));

  const auto bytes = read_file(checkpoint);
  write_file(checkpoint, bytes.substr(0, bytes.size() - 30));
  check_unloaded(*model, [&] { io::load_weights(model, checkpoint, {.prefix = "model."}); },
                 {"is an archive, but not a checkpoint that a trainer saved, or it is damaged"});
  write_file(folder / "run.safetensors", bytes);
  check_unloaded(*model, [&] { io::load_weights(model, folder / "run.safetensors", {.prefix = "model."}); },
                 {"is called safetensors, but is a zip archive"});
}
