// SPDX-License-Identifier: Apache-2.0
// Faults on the way between the processes of a run that trains through a parameter server.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <memory>
#include <optional>
#include <random>
#include <vector>

#include "tests/chaos/chaos_run.h"
#include "tests/chaos/proxy.h"
#include "tests/chaos/push_killer.h"

namespace tutti::testing {
namespace {

/// Where the fields of a frame's header begin, its end, and the end of the frame.
const std::vector<std::uint64_t> kBoundaries{0, 2, 4, 8, 16, 20, 22, 24, 28, 32, 40, 44, 48, kEndOfFrame};

constexpr std::size_t kBlowsOfARun = 6;

TEST(WorkerOverTheWireLong, KilledAtAnyByteOfAPushIsReplaced) {
  const unsigned seed = std::random_device()();
  std::printf("seed %u\n", seed);
  std::mt19937 random(seed);
  std::vector<std::uint64_t> offsets = kBoundaries;
  while (offsets.size() < 7 * kBlowsOfARun) offsets.push_back(49 + random() % kChunkBytes);
  std::ranges::shuffle(offsets, random);
  for (std::size_t at = 0; at < offsets.size(); at += kBlowsOfARun) {
    const auto begin = offsets.begin() + static_cast<std::ptrdiff_t>(at);
    expect_replaced({begin, begin + kBlowsOfARun}, random);
  }
}

/// Delays everything by 100 +- 50 ms, and resets, once a second, the connection that has something to say then.
class BadWeather {
 public:
  Decision operator()(const Piece& piece) {
    if (!is_on_ || piece.offset != 0) return {};
    const auto now = std::chrono::steady_clock::now();
    if (now >= next_reset_) {
      next_reset_ = now + std::chrono::seconds(1);
      ++resets_;
      return kReset;
    }
    return {.delay = std::chrono::milliseconds(50 + random_() % 101)};
  }
  void set(bool is_on) { is_on_ = is_on; }
  int resets() const { return resets_; }

 private:
  std::atomic<bool> is_on_ = false;
  std::atomic<int> resets_ = 0;
  std::chrono::steady_clock::time_point next_reset_{};
  std::mt19937 random_{7};
};

TEST(WireLong, DelaysAndResetsEvictNobody) {
  const TemporaryFolder folder;
  const auto weather = std::make_shared<BadWeather>();
  Proxy proxy(folder.path(), [weather](const Piece& piece) { return (*weather)(piece); });
  ChaosOptions options = through(proxy);
  options.configuration = {"transport=tcp", "timeout_s=3"};
  options.hold_ms = 5;
  ChaosRun run(options);
  ASSERT_TRUE(run.reaches(kStepsAround)) << run.err();
  weather->set(true);
  EXPECT_FALSE(run.finish(std::chrono::seconds(60))) << run.err();
  weather->set(false);
  const std::int64_t committed = run.marks().committed();
  run.expect_same_bits();
  EXPECT_GE(weather->resets(), 30);
  EXPECT_GE(run.marks().committed() - committed, kStepsAround);
  EXPECT_EQ(count(run.err(), "begins with a new process"), 0u) << run.err();
  std::printf("measured row=13 exchange=ps resets=%d evictions=0 SHA=yes\n", weather->resets());
}

}  // namespace
}  // namespace tutti::testing
