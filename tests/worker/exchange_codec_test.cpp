// SPDX-License-Identifier: Apache-2.0
#include "worker/exchange_codec.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "ps/convert.h"
#include "ps/half.h"
#include "ps/reduce.h"
#include "tests/worker/shm_ranks.h"

namespace tutti::worker {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kElements = 50'001;
constexpr std::uint32_t kRanks = 3;

std::vector<float> sines_of(std::uint32_t rank) {
  std::vector<float> values(kElements);
  for (std::size_t i = 0; i < kElements; ++i) values[i] = std::sin(static_cast<float>(i * (rank + 1)));
  values[7] = -0.0f;
  return values;
}

/// What halves on the wire make of all ranks' inputs: rounded, added in float32, divided, rounded.
std::vector<float> expected_average(DType wire) {
  std::vector<std::vector<std::uint16_t>> narrow(kRanks, std::vector<std::uint16_t>(kElements));
  std::vector<const std::byte*> contributions;
  for (std::uint32_t rank = 0; rank < kRanks; ++rank) {
    ps::narrow(wire, sines_of(rank), narrow[rank]);
    contributions.push_back(reinterpret_cast<const std::byte*>(narrow[rank].data()));
  }
  std::vector<std::uint16_t> average(kElements);
  ps::reduce(wire, Reduction::kAverage, contributions, std::as_writable_bytes(std::span(average)));
  std::vector<float> wide(kElements);
  ps::widen(wire, average, wide);
  return wide;
}

std::byte* bytes_of(std::vector<float>& values) {
  return reinterpret_cast<std::byte*>(values.data());
}

struct CodecSetting {
  DType wire;
  bool placed;
};
class Codec : public ::testing::TestWithParam<CodecSetting> {};

TEST_P(Codec, AveragesWhatTheWireRoundsInFloat32) {
  const auto [wire, placed] = GetParam();
  const std::vector<float> average = expected_average(wire);
  ASSERT_TRUE(std::signbit(average[7]));
  // The exchanges beneath belong to the codecs.
  const std::string keeper = "tutti-codec-test-" + std::to_string(::getpid()) + (placed ? "-placed" : "");
  const SteadyClock clock;
  Loop loop;
  const auto memory = SegmentKeeper::start(loop, keeper, Logger::none()).value();
  std::vector<std::jthread> ranks;
  for (std::uint32_t rank = 0; rank < kRanks; ++rank) {
    ranks.emplace_back([&, rank, wire = wire, placed = placed] {
      const auto codec = make_codec_exchange(
          std::make_unique<ShmExchange>(ShmOptions{keeper, {rank, kRanks}, "testhost", false, false}, clock), wire);
      const auto soon = [&] { return clock.now() + 20s; };
      std::vector<float> wide(kElements), small(3), shared(kElements, static_cast<float>(rank));
      ExchangePlan plan;
      plan.buckets = {{DType::kFloat32, Reduction::kAverage, kElements},
                      {DType::kFloat32, Reduction::kAverage, small.size()},
                      {DType::kFloat32, Reduction::kBroadcast, kElements}};
      plan.memory = {bytes_of(wide), bytes_of(small), bytes_of(shared)};
      std::vector<BucketMemory> places;
      if (placed) {
        places = codec->place(plan, soon()).value();
        ASSERT_EQ(places.size(), 3u);
        EXPECT_EQ(places[0], nullptr) << "the caller's wide bucket lies with the caller";
        for (std::size_t b = 1; b < 3; ++b) {
          std::copy_n(plan.memory[b], plan.buckets[b].bytes(), places[b].get());
          plan.memory[b] = places[b].get();
        }
      }
      ASSERT_TRUE(codec->open(plan, soon()));
      for (std::uint64_t round = 0; round < 3; ++round) {
        std::ranges::copy(sines_of(rank), wide.begin());
        std::fill_n(reinterpret_cast<float*>(plan.memory[1]), 3, 1.0f + 0x1p-20f);
        for (std::uint32_t b = 0; b < 3; ++b) ASSERT_TRUE(codec->start({round, 0}, b));
        ASSERT_TRUE(codec->poll());
        if (round == 1) {
          ASSERT_TRUE(codec->wait(1, soon()));
        }
        ASSERT_TRUE(codec->finish(soon()));
        ASSERT_EQ(wide, average);
        EXPECT_EQ(reinterpret_cast<float*>(plan.memory[1])[2], 1.0f + 0x1p-20f) << "a small bucket travels as it is";
        EXPECT_EQ(reinterpret_cast<float*>(plan.memory[2])[9], 0.0f) << "nothing is rounded in a broadcast";
      }
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Wires, Codec,
                         ::testing::Values(CodecSetting{DType::kBFloat16, false}, CodecSetting{DType::kBFloat16, true},
                                           CodecSetting{DType::kFloat16, false}, CodecSetting{DType::kFloat16, true}),
                         [](const ::testing::TestParamInfo<CodecSetting>& info) {
                           return std::string(name_of(info.param.wire)) + (info.param.placed ? "Placed" : "Staged");
                         });

}  // namespace
}  // namespace tutti::worker
