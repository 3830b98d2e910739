// SPDX-License-Identifier: Apache-2.0
// expect: the model needs `torch::Tensor block(std::int64_t l, torch::Tensor h)`, which gives f_l
#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>

struct Network : torch::nn::Module {
  torch::Tensor embed(torch::Tensor x) { return x; }
  std::int64_t blocks() const { return 1; }
  torch::Tensor join(std::int64_t, torch::Tensor, torch::Tensor f) { return f; }
  torch::Tensor readout(torch::Tensor h) { return h; }
  torch::Tensor forward(torch::Tensor x) { return x; }
  std::int64_t classes() const { return 2; }
  std::vector<std::int64_t> hidden_shape(std::int64_t) const { return {2}; }
  std::vector<torch::Tensor> embed_parameters() const { return {}; }
  std::vector<torch::Tensor> block_parameters(std::int64_t) const { return parameters(); }
  std::vector<torch::Tensor> readout_parameters() const { return {}; }
};

int main() { creditlib::LocalTrainer trainer(std::make_shared<Network>(), creditlib::DFA{}); }
