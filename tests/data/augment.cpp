// SPDX-License-Identifier: Apache-2.0
#include <creditlib/data/augment.hpp>

#include "../io/files.hpp"

using namespace creditlib;
using creditlib::data::crop_and_flip;
using creditlib::test::check_error;

// Every offset, flipped and not: (2 padding + 1)^2 * 2 of each.
struct EveryDraw {
  torch::Tensor dy, dx, flip;

  explicit EveryDraw(std::int64_t padding) {
    const auto offsets = torch::arange(2 * padding + 1, torch::kInt64);
    const auto grid = torch::meshgrid({offsets, offsets, torch::arange(2)}, "ij");
    dy = grid[0].flatten();
    dx = grid[1].flatten();
    flip = grid[2].flatten().to(torch::kBool);
  }
};

static torch::Tensor different_pixels(std::int64_t images) {
  return torch::arange(images * 2 * 5 * 7).remainder(251).add(1).to(torch::kUInt8).view({images, 2, 5, 7});
}

// The definition, a pixel at a time.
static bool cropped_and_flipped(const torch::Tensor& result, const torch::Tensor& images, const EveryDraw& draw,
                                std::int64_t padding) {
  const auto y = result.accessor<std::uint8_t, 4>(), x = images.accessor<std::uint8_t, 4>();
  const auto dy = draw.dy.accessor<std::int64_t, 1>(), dx = draw.dx.accessor<std::int64_t, 1>();
  const auto flip = draw.flip.accessor<bool, 1>();
  for (std::int64_t b = 0; b < x.size(0); ++b) {
    for (std::int64_t c = 0; c < x.size(1); ++c) {
      for (std::int64_t i = 0; i < x.size(2); ++i) {
        for (std::int64_t j = 0; j < x.size(3); ++j) {
          const auto row = i + dy[b] - padding;
          const auto column = (flip[b] ? x.size(3) - 1 - j : j) + dx[b] - padding;
          const bool inside = row >= 0 && row < x.size(2) && column >= 0 && column < x.size(3);
          if (y[b][c][i][j] != (inside ? x[b][c][row][column] : 0)) return false;
        }
      }
    }
  }
  return true;
}

TEST_CASE("crop and flip are their definition, pixel by pixel, for every offset", "[data]") {
  for (const std::int64_t padding : {4, 1, 0}) {
    const EveryDraw draw(padding);
    const auto images = different_pixels(draw.dy.size(0)), before = images.clone();

    const auto result = crop_and_flip(images, draw.dy, draw.dx, draw.flip, padding);

    CHECK(result.sizes() == images.sizes());
    CHECK(result.scalar_type() == torch::kUInt8);
    CHECK(result.is_contiguous());
    CHECK(cropped_and_flipped(result, images, draw, padding));
    CHECK(torch::equal(images, before));
  }
}

TEST_CASE("images that are not contiguous are cropped all the same", "[data]") {
  const EveryDraw draw(4);
  const auto images = different_pixels(2 * draw.dy.size(0));
  const auto every_second = images.slice(0, 0, images.size(0), 2);

  const auto result = crop_and_flip(every_second, draw.dy, draw.dx, draw.flip);

  CHECK(cropped_and_flipped(result, every_second, draw, 4));
}

TEST_CASE("crop and flip on CUDA are those on the CPU", "[data][cuda]") {
  if (!torch::cuda::is_available()) {
    SUCCEED("skipped: no CUDA device");
    return;
  }
  const EveryDraw draw(4);
  const auto images = different_pixels(draw.dy.size(0));

  const auto result = crop_and_flip(images.cuda(), draw.dy.cuda(), draw.dx.cuda(), draw.flip.cuda());

  CHECK(torch::equal(result.cpu(), crop_and_flip(images, draw.dy, draw.dx, draw.flip)));
}

TEST_CASE("draws that do not fit the images are refused by name", "[data]") {
  const auto images = torch::zeros({2, 3, 4, 4}, torch::kUInt8);
  const auto two = torch::full({2}, 4, torch::kInt64), flip = torch::zeros({2}, torch::kBool);
  const auto beyond = torch::tensor({0, 9}, torch::kInt64), before = torch::tensor({-1, 3}, torch::kInt64);

  check_error([&] { crop_and_flip(images[0], two, two, flip); },
              {"images are (3, 4, 4) uint8 on cpu, expected (B, C, H, W)"});
  check_error([&] { crop_and_flip(images, two.slice(0, 1), two, flip); },
              {"dy is (1) int64 on cpu, expected (2) int64"});
  check_error([&] { crop_and_flip(images, two, two.to(torch::kInt32), flip); },
              {"dx is (2) int32 on cpu, expected (2) int64"});
  check_error([&] { crop_and_flip(images, two, two, two); }, {"flip is (2) int64 on cpu, expected (2) bool"});
  check_error([&] { crop_and_flip(images, two, two, {}); }, {"flip is undefined, expected (2) bool"});
  check_error([&] { crop_and_flip(images, two.to(torch::kMeta), two, flip); },
              {"dy is on meta, but images are on cpu"});
  check_error([&] { crop_and_flip(images, two, beyond, flip); }, {"dx is 0 to 9, expected 0 to 8"});
  check_error([&] { crop_and_flip(images, before, two, flip); }, {"dy is -1 to 3, expected 0 to 8"});
  check_error([&] { crop_and_flip(images, two, two, flip, -1); }, {"padding is -1"});
}
