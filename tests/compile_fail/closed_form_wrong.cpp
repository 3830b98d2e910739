// SPDX-License-Identifier: Apache-2.0
// expect: closed_form is there but not callable as `std::optional<creditlib::closed_form::Network> closed_form()`
#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>

struct NetworkImpl : creditlib::ResidualMLPImpl {
  using creditlib::ResidualMLPImpl::ResidualMLPImpl;
  creditlib::closed_form::Network closed_form() { return {}; }
};

int main() {
  creditlib::LocalTrainer trainer(std::make_shared<NetworkImpl>(creditlib::ResidualMLPOptions{}), creditlib::DFA{});
}
