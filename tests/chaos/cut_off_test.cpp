// SPDX-License-Identifier: Apache-2.0
// Processes that live but cannot be heard, or cannot be believed: cut off by the proxy, stopped, or with flipped bits
// on their way.
#include <gmock/gmock.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <memory>

#include "tests/chaos/chaos_run.h"
#include "tests/chaos/proxy.h"
#include "tests/chaos/push_killer.h"

namespace tutti::testing {
namespace {

using ::testing::ContainsRegex;

constexpr std::int64_t kStruck = 60;

/// Silence is judged within three seconds.
ChaosOptions watched(const Proxy& proxy) {
  ChaosOptions options = through(proxy);
  options.configuration.push_back("timeout_s=3");
  options.hold_ms = 5;
  return options;
}

/// Of the bytes between a worker and the others none pass any more.
struct Cut {
  enum class Of { kAll, kShards, kCoordinator } of = Of::kAll;
  bool sent = true, received = true;  ///< by the worker

  bool holds(const Piece& piece) const {
    const bool is_control = piece.link.target == Link::Target::kCoordinator;
    return (piece.to_server ? sent : received) && (of == Of::kAll || is_control == (of == Of::kCoordinator));
  }
};

/// Rank 2 is cut off from step kStruck on; its agent still sees it, and the others live.
void expect_evicted(const Cut& cut) {
  const TemporaryFolder folder;
  std::atomic<pid_t> victim = 0;
  Proxy proxy(folder.path(),
              [&](const Piece& piece) { return piece.link.pid == victim && cut.holds(piece) ? kHold : Decision{}; });
  ChaosRun run(watched(proxy));
  ASSERT_TRUE(run.reaches(kStruck)) << run.err();
  run.note({2, kStruck, monotonic_ns()});
  victim = run.marks().pid(2);
  run.expect_same_bits();
  EXPECT_THAT(run.err(), ContainsRegex("rank 2 on [^ ]* was lost at step .* for 3\\.[0-9] s"));
  EXPECT_EQ(run.replaced(), 1u) << run.err();
  run.report("11", 1);
}

TEST(CutOffWorker, IsReplaced) {
  expect_evicted({});
}

TEST(CutOffWorker, WhomNobodyHearsIsReplaced) {
  expect_evicted({.received = false});
}

TEST(CutOffWorker, WhoHearsNobodyIsReplaced) {
  expect_evicted({.sent = false});
}

TEST(CutOffWorker, FromTheShardsAloneIsReplaced) {
  expect_evicted({.of = Cut::Of::kShards});
}

TEST(CutOffWorker, FromTheCoordinatorAloneIsReplaced) {
  expect_evicted({.of = Cut::Of::kCoordinator});
}

TEST(CutOffCoordinator, PausesTheStepsAndNobodyIsReplaced) {
  const TemporaryFolder folder;
  std::atomic<bool> is_cut = false;
  Proxy proxy(folder.path(), [&](const Piece& piece) {
    return is_cut && piece.link.target == Link::Target::kCoordinator ? kHold : Decision{};
  });
  ChaosRun run(watched(proxy));
  ASSERT_TRUE(run.reaches(kStruck)) << run.err();
  run.note({-1, kStruck, monotonic_ns()});
  is_cut = true;
  EXPECT_FALSE(run.finish(std::chrono::seconds(30))) << run.err();
  is_cut = false;
  run.expect_same_bits();
  EXPECT_EQ(run.replaced(), 0u) << run.err();
  run.report("12", 1);
}

TEST(StoppedShard, IsEndedAndReplaced) {
  const TemporaryFolder folder;
  const Proxy proxy(folder.path());
  ChaosRun run(watched(proxy));
  ASSERT_TRUE(run.reaches(kStruck)) << run.err();
  const auto servers = run.run().processes(bin_folder() + "/tutti server");
  ASSERT_EQ(servers.size(), 2u);
  run.strike(Role::kServer, -1, servers[1].pid, SIGSTOP);
  run.expect_same_bits();
  EXPECT_EQ(run.replaced(), 1u) << run.err();
  run.report("9", 1);
}

/// A bit of the first push or result of these steps flips.
class BitFlipper {
 public:
  Decision operator()(const Piece& piece) {
    const FrameType type = flips_ % 2 == 0 ? FrameType::kPush : FrameType::kResult;
    const std::uint64_t step = 40 + 40 * static_cast<std::uint64_t>(flips_);
    if (flips_ == kFlips || !piece.is(type) || piece.frame->step != step || piece.size < 2) return {};
    ++flips_;
    return {.flip = piece.size / 2};
  }
  int flips() const { return flips_; }

 private:
  static constexpr int kFlips = 3;
  int flips_ = 0;
};

TEST(FlippedBits, OnTheirWayAreNoUpdates) {
  const TemporaryFolder folder;
  const auto flipper = std::make_shared<BitFlipper>();
  Proxy proxy(folder.path(), [flipper](const Piece& piece) { return (*flipper)(piece); });
  ChaosRun run(watched(proxy));
  run.expect_same_bits();
  proxy.play(nullptr);
  EXPECT_EQ(flipper->flips(), 3);
  std::printf("measured row=16 exchange=ps flips=%d SHA=yes\n", flipper->flips());
}

}  // namespace
}  // namespace tutti::testing
