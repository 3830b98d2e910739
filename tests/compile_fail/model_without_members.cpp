// SPDX-License-Identifier: Apache-2.0
// expect: the model needs `torch::Tensor embed(torch::Tensor x)`, which gives h_0
// expect: the model needs `std::int64_t blocks() const`: how many blocks there are
// expect: the model needs `torch::Tensor forward(torch::Tensor x)`, which gives the logits of the whole network
// expect: the model needs `std::int64_t classes() const`: the width of the logits
// expect: the model needs `std::vector<torch::Tensor> embed_parameters() const`
// expect: the model needs `std::vector<torch::Tensor> block_parameters(std::int64_t l) const`
// expect: the model needs `std::vector<torch::Tensor> readout_parameters() const`
// expect: the model needs `torch::Tensor block(std::int64_t l, torch::Tensor h)`, which gives f_l, the branch of block l
// expect: the model needs `torch::Tensor join(std::int64_t l, torch::Tensor h, torch::Tensor f)`, which gives h_{l+1}: h + f or f
// expect: the model needs `torch::Tensor readout(torch::Tensor h)`, which gives the logits (B, classes)
// expect: the model needs `std::vector<std::int64_t> hidden_shape(std::int64_t l) const`: the sizes of h_l for one sample, l = 0..blocks()
// expect-lines: 80
#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>

struct Network : torch::nn::Module {};

int main() { creditlib::LocalTrainer trainer(std::make_shared<Network>(), creditlib::DFA{}); }
