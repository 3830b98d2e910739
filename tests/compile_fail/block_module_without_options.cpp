// SPDX-License-Identifier: Apache-2.0
// expect: creditlib: hand the model's options to its base
#include <torch/nn/modules/linear.h>

#include <creditlib/model/block_module.hpp>

struct NetworkOptions {
  std::int64_t width = 2;
};
class NetworkImpl : public creditlib::BlockModule<NetworkImpl, NetworkOptions> {
 public:
  explicit NetworkImpl(const NetworkOptions& options) {
    register_block(torch::nn::Linear(2, options.width));
    set_shapes({{2}, {options.width}}, options.width);
  }
  torch::Tensor readout(const torch::Tensor& h) { return h; }
};

int main() { creditlib::ModelHolder<NetworkImpl> model({.width = 3}); }
