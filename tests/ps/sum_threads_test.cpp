// SPDX-License-Identifier: Apache-2.0
#include "ps/sum_threads.h"

#include <gtest/gtest.h>

#include <mutex>
#include <set>
#include <thread>
#include <vector>

namespace tutti::ps {
namespace {

struct Part {
  std::size_t offset, bytes;
  auto operator<=>(const Part&) const = default;
};

/// The parts of one run, in order.
std::vector<Part> parts_of(SumThreads& threads, std::size_t bytes, std::size_t unit = 64) {
  std::mutex mutex;
  std::set<Part> parts;
  threads.run(bytes, unit, [&](std::size_t offset, std::size_t size) {
    const std::lock_guard lock(mutex);
    parts.insert({offset, size});
  });
  return {parts.begin(), parts.end()};
}

TEST(SumThreads, CutARangeIntoEvenPartsWithoutGaps) {
  SumThreads threads(2);
  for (const std::size_t bytes : {(1u << 20) + 12, 3u << 20, (2u << 20) + 1}) {
    const auto parts = parts_of(threads, bytes);
    ASSERT_EQ(parts.size(), 3u);
    std::size_t at = 0;
    for (const Part& part : parts) {
      EXPECT_EQ(part.offset, at);
      EXPECT_EQ(part.offset % 64, 0u);
      at += part.bytes;
    }
    EXPECT_EQ(at, bytes);
    EXPECT_LE(parts.front().bytes - parts.back().bytes, 3 * 64u);
  }
}

TEST(SumThreads, CutBetweenUnits) {
  SumThreads threads(2);
  const auto parts = parts_of(threads, (1u << 20) + 12, 100'000);
  EXPECT_EQ(parts, (std::vector<Part>{{0, 400'000}, {400'000, 400'000}, {800'000, 248'588}}));
}

TEST(SumThreads, LeaveShortWorkToTheCaller) {
  SumThreads threads(2), none(0);
  EXPECT_EQ(parts_of(threads, 1000), (std::vector<Part>{{0, 1000}}));
  EXPECT_EQ(parts_of(none, 8 << 20), (std::vector<Part>{{0, 8 << 20}}));
}

TEST(SumThreads, AreDoneWhenRunReturns) {
  SumThreads threads(3);
  std::vector<std::uint8_t> bytes(4 << 20);
  for (int round = 1; round <= 50; ++round) {
    threads.run(bytes.size(), 64, [&](std::size_t offset, std::size_t size) {
      for (std::size_t i = offset; i < offset + size; i += 4096) ++bytes[i];
    });
    for (std::size_t i = 0; i < bytes.size(); i += 4096) ASSERT_EQ(bytes[i], round);
  }
}

TEST(SumThreads, LeaveTheCoresOfASmallMachineToItsWorkers) {
  EXPECT_EQ(SumThreads::helpers_for(2), 0);
  EXPECT_EQ(SumThreads::helpers_for(4), 0);
  EXPECT_EQ(SumThreads::helpers_for(8), 1);
  EXPECT_EQ(SumThreads::helpers_for(128), 3);
}

}  // namespace
}  // namespace tutti::ps
