// SPDX-License-Identifier: Apache-2.0
// expect: as FA's, which comes from the block above, so its blocks cannot be trained in different processes; those of DFA
#include <creditlib/credit/fa.hpp>
#include <creditlib/distributed/block_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>

int main() { creditlib::distributed::BlockTrainer trainer(creditlib::ResidualMLP({.blocks = 2}), creditlib::FA{}, {}); }
