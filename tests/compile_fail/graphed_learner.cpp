// SPDX-License-Identifier: Apache-2.0
// expect: this credit source learns, and a CUDA graph would repeat what it drew and counted on the host
#include <creditlib/credit/vec.hpp>
#include <creditlib/cuda/detail/basic_graphed_step.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>

struct Device {
  struct Graph {
    void replay() {}
  };
};

int main() {
  using namespace creditlib;
  LocalTrainer trainer(ResidualMLP({.blocks = 2}), Vec{});
  creditlib::detail::BasicGraphedStep graphed(trainer, Device{}, cuda::GraphOptions{});
}
