// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/pooling.h>

#include <algorithm>
#include <creditlib/error.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <creditlib/model/sequential_blocks.hpp>
#include <creditlib/model/small_cnn.hpp>
#include <creditlib/model/small_resnet.hpp>
#include <creditlib/model/vit_mini.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

namespace registry {

/// What a network is made for.
struct NetworkSettings {
  std::int64_t classes = 10, channels = 3, side = 32;  ///< of square images
  std::int64_t width = 0, blocks = 0;                  ///< other than the network's own if > 0; MLPs only
  bool without_blocks = false;                         ///< the readout on h_0
};

/// What programs need to know of a network before they make one.
struct NetworkFacts {
  bool flat_images = false;  ///< takes images as (B, C * H * W)
  /// The local loss is a mean over positions: credit of one value per channel, as the reference scripts have it for
  /// convolutions and tokens.
  bool mean_over_positions = false;
  bool without_blocks = true;  ///< has a readout that takes h_0 too
  bool benchmarked = true;     ///< not one that another of the list stands for
};

/// A network's name, what --help says of it, its facts, and make(NetworkSettings).
template <class Make>
struct Network {
  const char* name;
  const char* what;
  NetworkFacts facts;
  Make make;
};

inline auto residual_mlp(const NetworkSettings& s, std::int64_t width, std::int64_t blocks) {
  if (s.width > 0) width = s.width;
  if (s.blocks > 0) blocks = s.blocks;
  if (s.without_blocks) blocks = 0;
  return creditlib::ResidualMLP(
      {.input = s.channels * s.side * s.side, .width = width, .classes = s.classes, .blocks = blocks});
}

/// Hidden layers of tanh units without residual joins, and a linear readout. The first hidden layer is block 0: there is
/// no embed.
inline auto mlp(const NetworkSettings& s) {
  using namespace torch::nn;
  std::int64_t features = s.channels * s.side * s.side;
  const std::int64_t width = s.width > 0 ? s.width : 1024;
  creditlib::SequentialBlocksOptions options{.example = torch::zeros({1, features})};
  for (std::int64_t l = 0; l < std::max<std::int64_t>(1, s.blocks); ++l) {
    options.blocks.push_back(Sequential(Linear(features, width), Tanh()));
    features = width;
  }
  options.readout = Sequential(Linear(features, s.classes));
  return creditlib::SequentialBlocks(options);
}

/// LeNet-5 as feedback rules are often compared on, with ReLU and maxima; images are padded to 32 x 32. Each stage up to
/// the readout is a block. Throws Error for larger images and for an odd side.
inline auto lenet(const NetworkSettings& s) {
  using namespace torch::nn;
  if (s.side > 32 || s.side % 2 != 0) {
    creditlib::detail::fail("lenet: images are ", s.side, "x", s.side, ", expected an even side of 32 at most.");
  }
  const auto conv = [](std::int64_t from, std::int64_t to, std::int64_t padding = 0) {
    return Conv2d(Conv2dOptions(from, to, 5).padding(padding));
  };
  return creditlib::SequentialBlocks(
      {.blocks = {Sequential(conv(s.channels, 6, (32 - s.side) / 2), ReLU(), MaxPool2d(2)),
                  Sequential(conv(6, 16), ReLU(), MaxPool2d(2)), Sequential(conv(16, 120), ReLU(), Flatten()),
                  Sequential(Linear(120, 84))},
       .readout = Sequential(Linear(84, s.classes)),
       .example = torch::zeros({1, s.channels, s.side, s.side})});
}

/// All networks. A new one is a line here, and the files that compile trainers and benchmarks on it:
/// support/methods_*.cpp, bench/support/stepper_*.cpp.
inline constexpr auto networks = std::tuple{
    Network{"resmlp", "d=256, L=4", NetworkFacts{.flat_images = true},
            [](const NetworkSettings& s) { return residual_mlp(s, 256, 4); }},
    Network{"resmlp_d512_L2", "", NetworkFacts{.flat_images = true, .benchmarked = false},
            [](const NetworkSettings& s) { return residual_mlp(s, 512, 2); }},
    Network{"mlp", "one hidden layer of 1024 tanh units",
            NetworkFacts{.flat_images = true, .without_blocks = false, .benchmarked = false}, mlp},
    Network{"vit", "", NetworkFacts{.mean_over_positions = true},
            [](const NetworkSettings& s) {
              return creditlib::ViTMini({.width = 128,
                                         .heads = 4,
                                         .blocks = s.without_blocks ? 0 : 4,
                                         .classes = s.classes,
                                         .patch = 4,
                                         .image = s.side,
                                         .channels = s.channels});
            }},
    Network{"resnet", "", NetworkFacts{.mean_over_positions = true},
            [](const NetworkSettings& s) {
              return creditlib::SmallResNet({.channels = 64,
                                             .classes = s.classes,
                                             .blocks = s.without_blocks ? 0 : 4,
                                             .input = s.channels,
                                             .image = s.side});
            }},
    Network{"cnn", "", NetworkFacts{.without_blocks = false},
            [](const NetworkSettings& s) {
              return creditlib::SmallCNN({.classes = s.classes, .input = s.channels, .image = s.side});
            }},
    Network{"lenet", "LeNet-5", NetworkFacts{.without_blocks = false}, lenet},
};

/// Calls visit(network) with the network of that name; whether there is one.
template <class Visit>
bool with_network(std::string_view name, const Visit& visit) {
  return std::apply([&](const auto&... network) { return ((name == network.name && (visit(network), true)) || ...); },
                    networks);
}

inline std::vector<std::string> network_names() {
  return std::apply([](const auto&... network) { return std::vector<std::string>{network.name...}; }, networks);
}

/// The facts of the network of that name; those of none are the defaults.
inline NetworkFacts facts_of(std::string_view name) {
  NetworkFacts facts;
  with_network(name, [&](const auto& network) { facts = network.facts; });
  return facts;
}

/// "resmlp (d=256, L=4), ...": for --help.
inline std::string networks_text() {
  std::string text;
  const auto listed = [&](const auto& network) {
    text += (text.empty() ? "" : ", ") + std::string(network.name);
    if (*network.what != 0) text += " (" + std::string(network.what) + ")";
  };
  std::apply([&](const auto&... network) { (listed(network), ...); }, networks);
  return text;
}

}  // namespace registry
