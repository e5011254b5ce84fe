// SPDX-License-Identifier: Apache-2.0
// Connections to the coordinator that break while everybody lives.
#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <utility>

#include "tests/chaos/chaos_run.h"
#include "tests/chaos/proxy.h"
#include "tests/chaos/push_killer.h"

namespace tutti::testing {
namespace {

constexpr int kMembers = 4 + 2 + 1;  // workers, shards, the agent

/// Ends, each time it is told to, every connection to the coordinator once, in good order or by a reset.
class Cutter {
 public:
  Decision operator()(const Piece& piece) {
    const bool is_due = piece.link.target == Link::Target::kCoordinator && piece.offset == 0 && times_ > 0 &&
                        !cut_.contains({piece.link.pid, times_});
    if (!is_due) return {};
    cut_.insert({piece.link.pid, times_});
    ++cuts_;
    return {.pass = 0, .rest = times_ % 2 == 0 ? Decision::Rest::kReset : Decision::Rest::kCut};
  }
  void cut() { ++times_; }
  int cuts() const { return cuts_; }

 private:
  std::atomic<int> times_ = 0, cuts_ = 0;
  std::set<std::pair<pid_t, int>> cut_;
};

TEST(ControlConnections, ThatAreCutAreMadeAgainAndNobodyIsReplaced) {
  const TemporaryFolder folder;
  const auto cutter = std::make_shared<Cutter>();
  Proxy proxy(folder.path(), [cutter](const Piece& piece) { return (*cutter)(piece); });
  ChaosOptions options = through(proxy);
  options.configuration.push_back("timeout_s=3");
  options.hold_ms = 10;
  ChaosRun run(options);
  for (const int step : {40, 80, 120}) {
    ASSERT_TRUE(run.reaches(step)) << run.err();
    cutter->cut();
  }
  run.expect_same_bits();
  proxy.play(nullptr);
  EXPECT_EQ(cutter->cuts(), 3 * kMembers);
  EXPECT_EQ(count(run.err(), "begins with a new process"), 0u) << run.err();
}

}  // namespace
}  // namespace tutti::testing
