// SPDX-License-Identifier: Apache-2.0
// expect: the model needs `torch::Tensor embed(torch::Tensor x)`, which gives h_0
// expect: the model needs `std::int64_t blocks() const`: how many blocks there are
// expect: the model needs `torch::Tensor forward(torch::Tensor x)`, which gives the logits of the whole network
// expect: the model needs `std::int64_t classes() const`: the width of the logits
// expect: the model needs `std::vector<torch::Tensor> embed_parameters() const`
// expect: the model needs `std::vector<torch::Tensor> block_parameters(std::int64_t l) const`
// expect: the model needs `std::vector<torch::Tensor> readout_parameters() const`
// expect-lines: 80
#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>

struct Network : torch::nn::Module {};

int main() { creditlib::LocalTrainer trainer(std::make_shared<Network>(), creditlib::DFA{}); }
