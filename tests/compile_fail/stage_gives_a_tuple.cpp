// SPDX-License-Identifier: Apache-2.0
// expect: a module that is a stage of SequentialBlocks needs `torch::Tensor forward(torch::Tensor)`, neither overloaded nor a template; put nn::LSTM, nn::GRU and nn::RNN into creditlib::Recurrent
#include <torch/nn/modules/rnn.h>

#include <creditlib/model/sequential_blocks.hpp>

int main() { creditlib::SequentialBlocksOptions options{.blocks = {torch::nn::LSTM(4, 4)}}; }
