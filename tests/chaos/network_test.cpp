// SPDX-License-Identifier: Apache-2.0
// Faults on the way between the processes of a run that trains through a parameter server: a proxy of the test's own
// carries every byte of it.
#include <gmock/gmock.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <vector>

#include "tests/chaos/chaos_run.h"
#include "tests/chaos/proxy.h"
#include "tests/support/eventually.h"
#include "tests/worker/training_run.h"

namespace tutti::testing {
namespace {

/// Four workers and two shards over TCP, in chunks small enough for each shard to get several.
ChaosOptions through(const Proxy& proxy) {
  return {.exchange = "ps",
          .shards = 2,
          .configuration = {"transport=tcp", "chunk_bytes=131072"},
          .environment = proxy.environment()};
}

/// Kill `rank` when so many bytes of a push of `step` have passed, the one after `pushes_before`.
struct Blow {
  std::uint64_t step = 0;
  int rank = 0;
  std::uint64_t offset = 0;  ///< beyond the end of the message: all of it passes
  int pushes_before = 0;
  bool has_struck = false;
};

/// Plays blows, on the proxy's thread, and keeps when they struck.
class PushKiller {
 public:
  explicit PushKiller(std::vector<Blow> blows) : blows_(std::move(blows)) {}

  Decision operator()(const Piece& piece) {
    if (!piece.to_server) return {};
    if (dead_.contains(piece.link.pid)) return {.pass = 0, .rest = Decision::Rest::kCut};
    if (!piece.is(FrameType::kPush)) return {};
    Blow* blow = due(piece);
    if (blow == nullptr) return {};
    const std::uint64_t offset = std::min(blow->offset, piece.message_bytes);
    if (piece.offset + piece.size < offset) return {};
    strike(*blow, piece.link.pid);
    return {.pass = static_cast<std::size_t>(offset - piece.offset), .rest = Decision::Rest::kCut};
  }

  std::vector<Strike> strikes() const {
    const std::lock_guard lock(mutex_);
    return strikes_;
  }

 private:
  Blow* due(const Piece& piece) {
    for (Blow& blow : blows_) {
      if (blow.has_struck || blow.step != piece.frame->step || blow.rank != piece.link.self.rank) continue;
      if (blow.pushes_before == 0) return &blow;
      if (piece.offset + piece.size == piece.message_bytes) --blow.pushes_before;
    }
    return nullptr;
  }
  void strike(Blow& blow, pid_t pid) {
    blow.has_struck = true;
    dead_.insert(pid);
    const std::lock_guard lock(mutex_);
    strikes_.push_back({blow.rank, static_cast<std::int64_t>(blow.step), monotonic_ns()});
    ::kill(pid, SIGKILL);
  }

  std::vector<Blow> blows_;
  std::set<pid_t> dead_;
  mutable std::mutex mutex_;
  std::vector<Strike> strikes_;  // guarded by mutex_
};

constexpr std::uint64_t kEndOfFrame = ~std::uint64_t{0};
/// Where the fields of a frame's header begin, its end, and the end of the frame.
const std::vector<std::uint64_t> kBoundaries{0, 2, 4, 8, 16, 20, 22, 24, 28, 32, 40, 44, 48, kEndOfFrame};

/// A run that loses a worker at each of these bytes of a push, one after the other.
void expect_replaced(const std::vector<std::uint64_t>& offsets, std::mt19937& random) {
  std::vector<Blow> blows;
  for (const std::uint64_t offset : offsets) {
    blows.push_back({.step = 24 + 25 * blows.size(),
                     .rank = static_cast<int>(random() % 4),
                     .offset = offset,
                     .pushes_before = static_cast<int>(random() % 4)});
  }
  const TemporaryFolder folder;
  const auto killer = std::make_shared<PushKiller>(blows);
  Proxy proxy(folder.path(), [killer](const Piece& piece) { return (*killer)(piece); });
  ChaosRun run(through(proxy));
  run.expect_same_bits();
  for (const Strike& strike : killer->strikes()) run.note(strike);
  EXPECT_EQ(count(run.err(), "was killed by signal 9 (Killed)"), offsets.size()) << run.err();
  run.report("1", offsets.size());
}

constexpr std::size_t kBlowsOfARun = 6;

TEST(WorkerOverTheWire, KilledWithinAPushIsReplaced) {
  const unsigned seed = std::random_device()();
  std::printf("seed %u\n", seed);
  std::mt19937 random(seed);
  expect_replaced({0, 16, 48, 49 + random() % 131072, 49 + random() % 131072, kEndOfFrame}, random);
}

TEST(WorkerOverTheWireLong, KilledAtAnyByteOfAPushIsReplaced) {
  const unsigned seed = std::random_device()();
  std::printf("seed %u\n", seed);
  std::mt19937 random(seed);
  std::vector<std::uint64_t> offsets = kBoundaries;
  while (offsets.size() < 7 * kBlowsOfARun) offsets.push_back(49 + random() % 131072);
  std::ranges::shuffle(offsets, random);
  for (std::size_t at = 0; at < offsets.size(); at += kBlowsOfARun) {
    const auto begin = offsets.begin() + static_cast<std::ptrdiff_t>(at);
    expect_replaced({begin, begin + kBlowsOfARun}, random);
  }
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

TEST(Shard, KilledInAStepIsReplaced) {
  ChaosRun run({.exchange = "ps", .shards = 2, .hold_ms = 5});
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(run.reaches(40 + 40 * i)) << run.err();
    const int shard = i % 2;
    const auto servers = run.run().processes(bin_folder() + "/tutti server");
    ASSERT_EQ(servers.size(), 2u) << run.err();
    run.strike(Role::kServer, shard, servers[static_cast<std::size_t>(shard)].pid, SIGKILL);
  }
  run.expect_same_bits();
  EXPECT_EQ(count(run.err(), "was killed by signal 9 (Killed)"), 3u) << run.err();
  run.report("4", 3);
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
