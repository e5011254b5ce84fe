// SPDX-License-Identifier: Apache-2.0
// Faults on the way between the processes of a run that trains through a parameter server.
#include <gtest/gtest.h>

#include <algorithm>
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

/// Delays everything by 100 +- 50 ms.
TEST(WireLong, DelaysEvictNobody) {
  const TemporaryFolder folder;
  std::mt19937 random(7);
  Proxy proxy(folder.path(), [&random](const Piece& piece) {
    Decision decision;
    if (piece.offset == 0) decision.delay = std::chrono::milliseconds(50 + random() % 101);
    return decision;
  });
  ChaosOptions options = through(proxy);
  options.configuration = {"transport=tcp"};
  ChaosRun run(options);
  run.expect_same_bits();
  EXPECT_EQ(count(run.err(), "begins with a new process"), 0u) << run.err();
  std::printf("measured row=13 exchange=ps evictions=0 SHA=yes\n");
}

}  // namespace
}  // namespace tutti::testing
