// SPDX-License-Identifier: Apache-2.0
#include <creditlib/distributed/c10d.hpp>
#include <creditlib/distributed/group.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "../models.hpp"
#include "ranks.hpp"

using namespace creditlib;
using namespace creditlib::test;

TEST_CASE("a process alone sums nothing, and has no other to send to", "[distributed]") {
  const auto group = distributed::alone();
  const auto tensor = torch::ones({3});

  group->sum({tensor});
  group->broadcast({tensor}, 0);
  group->barrier();

  CHECK(group->rank() == 0);
  CHECK(group->size() == 1);
  CHECK(torch::equal(tensor, torch::ones({3})));
  CHECK(says(error_of([&] { group->broadcast({tensor}, 1); }), {"no rank 1", "trains alone"}));
  CHECK(says(error_of([&] { group->send(tensor, 0); }), {"no rank 0"}));
  CHECK(says(error_of([&] { group->receive(tensor, 1); }), {"no rank 1"}));
}

TEST_CASE("ranks over a store sum, broadcast, send and receive", "[distributed]") {
  std::vector<torch::Tensor> sums(3), transposed(3), counts(3), broadcast(3), received(3);

  in_ranks(3, [&](const std::shared_ptr<distributed::Group>& group) {
    const auto rank = group->rank();
    const auto at = static_cast<std::size_t>(rank);
    for (int repeated = 0; repeated < 3; ++repeated) {
      sums[at] = torch::full({2, 2}, 0.1 * static_cast<double>(rank + 1));
      transposed[at] = torch::arange(6, torch::kFloat32).view({2, 3}).t();  // not contiguous
      counts[at] = torch::full({}, rank, torch::kInt64);
      group->sum({sums[at], transposed[at], counts[at], torch::empty({0})});
      broadcast[at] = torch::full({4}, rank, torch::kFloat64);
      group->broadcast({broadcast[at]}, 1);
      group->barrier();
      received[at] = torch::zeros({2});
      if (rank == 0) {
        group->send(torch::tensor({1.0F, 2.0F}), 2);
        group->send(torch::tensor({3.0F, 4.0F}), 2);
      } else if (rank == 2) {
        group->receive(received[at], 0);
        group->receive(received[at], 0);
      }
    }
  });

  for (std::size_t rank = 0; rank < 3; ++rank) {
    CHECK(torch::allclose(sums[rank], torch::full({2, 2}, 0.6)));
    CHECK(torch::equal(sums[rank], sums[0]));
    CHECK(torch::equal(transposed[rank], 3 * torch::arange(6, torch::kFloat32).view({2, 3}).t()));
    CHECK(counts[rank].item<int>() == 3);
    CHECK(torch::equal(broadcast[rank], torch::ones({4}, torch::kFloat64)));
  }
  CHECK(torch::equal(received[2], torch::tensor({3.0F, 4.0F})));
}

TEST_CASE("a rank that does not come is named, and the group stays failed", "[distributed]") {
  std::vector<std::string> said(3), again(3);

  in_ranks(
      3,
      [&](const std::shared_ptr<distributed::Group>& group) {
        const auto at = static_cast<std::size_t>(group->rank());
        if (at == 1) return;
        said[at] = error_of([&] { group->sum({torch::ones({2})}); });
        again[at] = error_of([&] { group->barrier(); });
      },
      std::chrono::milliseconds(200));

  for (const std::size_t rank : {0, 2}) {
    CHECK(says(said[rank], {"Group::sum failed on rank " + std::to_string(rank), "Rank 1 did not come within 0.2 s"}));
    CHECK(again[rank] == said[rank]);
  }
}

TEST_CASE("tensors of other sizes are not summed", "[distributed]") {
  std::vector<std::string> said(2);

  in_ranks(2, [&](const std::shared_ptr<distributed::Group>& group) {
    const auto at = static_cast<std::size_t>(group->rank());
    said[at] = error_of([&] { group->sum({torch::ones({group->rank() + 2})}); });
  });

  CHECK(says(said[0], {"Rank 1 gave 12 bytes and this rank expected 8"}));
  CHECK(says(said[1], {"Rank 0 gave 8 bytes and this rank expected 12"}));
}

namespace {

/// A backend whose peers cannot be reached.
class NoLink final : public c10d::Backend {
 public:
  explicit NoLink(int size) : Backend(0, size) {}

  c10::intrusive_ptr<c10d::Work> allreduce(std::vector<at::Tensor>&, const c10d::AllreduceOptions&) override {
    throw std::runtime_error("no link\nand a second line");
  }
  c10::intrusive_ptr<c10d::Work> send(std::vector<at::Tensor>&, int, int) override {
    throw std::runtime_error("no link");
  }
};

}  // namespace

TEST_CASE("a backend's failure is an error, with the rank that it can only be", "[distributed]") {
  const auto two = distributed::over(c10::make_intrusive<NoLink>(2)),
             three = distributed::over(c10::make_intrusive<NoLink>(3)),
             receiver = distributed::over(c10::make_intrusive<NoLink>(3));
  const auto tensor = torch::ones({1});

  CHECK(two->size() == 2);
  CHECK(says(error_of([&] { two->sum({tensor}); }), {"Group::sum failed on rank 0. Rank 1 is gone", "(no link)"}));
  CHECK(says(error_of([&] { two->sum({tensor}); }), {"Rank 1 is gone"}));
  CHECK(says(error_of([&] { three->sum({tensor}); }), {"Another rank is gone"}));
  CHECK(says(error_of([&] { receiver->send(tensor, 2); }), {"Group::send failed on rank 0. Rank 2 is gone"}));
}

TEST_CASE("a group is over a store or a backend, and of a rank that there is", "[distributed]") {
  const auto store = c10::make_intrusive<c10d::HashStore>();

  CHECK(says(error_of([&] { distributed::over(store, 2, 2); }), {"rank is 2 and size 2"}));
  CHECK(says(error_of([&] { distributed::over(store, -1, 2); }), {"rank is -1"}));
  CHECK(says(error_of([&] { distributed::over(store, 0, 0); }), {"size 0"}));
  CHECK(says(error_of([&] { distributed::over(c10::intrusive_ptr<c10d::Store>(), 0, 1); }), {"no store"}));
  CHECK(says(error_of([&] { distributed::over(c10::intrusive_ptr<c10d::Backend>()); }), {"no backend"}));
  const auto group = distributed::over(store, 0, 2);
  CHECK(says(error_of([&] { group->send(torch::ones({1}), 0); }), {"send: there is no other rank 0 among 2"}));
  CHECK(says(error_of([&] { group->broadcast({torch::ones({1})}, 2); }), {"broadcast: there is no rank 2 among 2"}));
}
