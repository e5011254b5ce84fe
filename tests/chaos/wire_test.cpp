// SPDX-License-Identifier: Apache-2.0
// Workers and shards of a parameter server that are killed in the middle of what they say to each other.
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
#include "tests/worker/training_run.h"

namespace tutti::testing {
namespace {

TEST(WorkerOverTheWire, KilledWithinAPushIsReplaced) {
  const unsigned seed = std::random_device()();
  std::printf("seed %u\n", seed);
  std::mt19937 random(seed);
  expect_replaced({0, 16, 48, 49 + random() % kChunkBytes, 49 + random() % kChunkBytes, kEndOfFrame}, random);
}

/// Kills a rank when one shard has all of its pushes of a step and the other has none.
class HalfPushKiller {
 public:
  HalfPushKiller(int rank, std::uint64_t step) : rank_(rank), step_(step) {}

  Decision operator()(const Piece& piece) {
    if (!piece.to_server || piece.link.self.rank != rank_ || !piece.is(FrameType::kPush)) return {};
    if (strike_ && piece.link.pid == pid_) return {.pass = 0, .rest = Decision::Rest::kCut};
    const bool is_last_piece = piece.offset + piece.size == piece.message_bytes;
    if (piece.frame->step == step_ - 1 && is_last_piece && piece.link.shard == kWhole) ++pushes_;
    if (piece.frame->step != step_ || strike_) return {};
    if (piece.link.shard != kWhole) return kHold;
    if (!is_last_piece || ++seen_ < pushes_) return {};
    pid_ = piece.link.pid;
    strike_ = Strike{rank_, static_cast<std::int64_t>(step_), monotonic_ns()};
    ::kill(pid_, SIGKILL);
    return {};
  }
  const std::optional<Strike>& strike() const { return strike_; }

 private:
  static constexpr int kWhole = 0;  // the shard that gets everything
  const int rank_;
  const std::uint64_t step_;
  int pushes_ = 0, seen_ = 0;
  pid_t pid_ = 0;
  std::optional<Strike> strike_;
};

TEST(WorkerOverTheWire, KilledBetweenTheShardsIsReplaced) {
  const TemporaryFolder folder;
  const auto killer = std::make_shared<HalfPushKiller>(2, 80);
  Proxy proxy(folder.path(), [killer](const Piece& piece) { return (*killer)(piece); });
  ChaosRun run(through(proxy));
  run.expect_same_bits();
  proxy.play(nullptr);
  ASSERT_TRUE(killer->strike());
  run.note(*killer->strike());
  run.report("2", 1);
}

/// A shard and whoever else has anything of a step.
void kill_shard_and_workers(ChaosRun& run, std::int64_t step) {
  ASSERT_TRUE(run.reaches(step)) << run.err();
  const auto servers = run.run().processes(bin_folder() + "/tutti server");
  ASSERT_EQ(servers.size(), 2u) << run.err();
  std::vector<pid_t> victims = {servers[0].pid};
  for (int rank = 0; rank < 4; ++rank) victims.push_back(run.marks().pid(rank));
  run.note({-1, run.marks().committed(), monotonic_ns()});
  for (const pid_t victim : victims) EXPECT_EQ(::kill(victim, SIGKILL), 0);
}

TEST(ShardAndWorkers, AllGoBackToTheCheckpoint) {
  const TemporaryFolder checkpoints;
  ChaosRun run({.exchange = "ps",
                .shards = 2,
                .hold_ms = 5,
                .configuration = {"checkpoint_dir=" + checkpoints.path(), "checkpoint_every=50"}});
  kill_shard_and_workers(run, 70);
  run.expect_same_bits();
  EXPECT_EQ(count(run.err(), "all workers begin again"), 1u) << run.err();
  run.report("5", 1, 50);
}

TEST(ShardAndWorkers, WithoutACheckpointTheRunEnds) {
  ChaosRun run({.exchange = "ps", .shards = 2, .hold_ms = 5});
  kill_shard_and_workers(run, 70);
  EXPECT_EQ(run.finish(kPatience), 69) << run.err();
}

TEST(Shard, KilledInAStepIsReplaced) {
  ChaosRun run({.exchange = "ps", .shards = 2, .hold_ms = 5});
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(run.reaches(40 + 40 * i)) << run.err();
    const auto servers = run.run().processes(bin_folder() + "/tutti server");
    ASSERT_EQ(servers.size(), 2u) << run.err();
    run.strike(Role::kServer, -1, servers[static_cast<std::size_t>(i % 2)].pid, SIGKILL);
  }
  run.expect_same_bits();
  EXPECT_EQ(count(run.err(), "was killed by signal 9 (Killed)"), 3u) << run.err();
  run.report("4", 3);
}

}  // namespace
}  // namespace tutti::testing
