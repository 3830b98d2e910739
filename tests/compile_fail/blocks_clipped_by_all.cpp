// SPDX-License-Identifier: Apache-2.0
// expect: a clip sees the gradients of one process' blocks alone, so BlockTrainer takes clip::ByBlock and clip::ByValue
#include <creditlib/credit/dfa.hpp>
#include <creditlib/distributed/block_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>

int main() {
  const creditlib::ResidualMLP model({.blocks = 2});
  creditlib::distributed::BlockTrainer trainer(model, creditlib::DFA{}, {}, {}, creditlib::clip::ByAll{});
}
