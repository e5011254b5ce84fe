// SPDX-License-Identifier: Apache-2.0
// The proxy itself: a run that goes through it is the same run, and the proxy knows who says what to whom.
#include "tests/chaos/proxy.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "tests/chaos/chaos_run.h"

namespace tutti::testing {
namespace {

ChaosOptions through(const Proxy& proxy, ChaosOptions options) {
  options.environment.merge(proxy.environment());
  return options;
}

TEST(Proxy, SeesEveryPushOfARunAndChangesNothing) {
  const TemporaryFolder folder;
  std::set<std::pair<int, int>> pairs;  // worker, shard
  std::map<std::uint64_t, std::set<int>> pushed;
  std::set<pid_t> workers;
  Proxy proxy(folder.path(), [&](const Piece& piece) {
    if (piece.is(FrameType::kPush)) {
      pushed[piece.frame->step].insert(piece.link.self.rank);
      pairs.insert({piece.link.self.rank, piece.link.shard});
      workers.insert(piece.link.pid);
    }
    return Decision{};
  });
  ChaosRun run(through(proxy, {.exchange = "ps", .shards = 2, .configuration = {"transport=tcp"}}));
  run.expect_same_bits();
  proxy.play(nullptr);
  EXPECT_EQ(pushed.size(), 200u);
  for (const auto& [step, ranks] : pushed) EXPECT_EQ(ranks.size(), 4u) << step;
  EXPECT_EQ(pairs, (std::set<std::pair<int, int>>{{0, 0}, {0, 1}, {1, 0}, {1, 1}, {2, 0}, {2, 1}, {3, 0}, {3, 1}}));
  for (int rank = 0; rank < 4; ++rank) EXPECT_TRUE(workers.contains(run.marks().pid(rank))) << rank;
}

}  // namespace
}  // namespace tutti::testing
