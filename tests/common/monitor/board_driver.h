// SPDX-License-Identifier: Apache-2.0
// A board that is told what a run's members report and what happens to them, at times that a test sets.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common/monitor/run_board.h"

namespace tutti::testing {

constexpr MemberId worker_at(std::int32_t rank) {
  return {Role::kWorker, rank};
}
constexpr MemberId server_at(std::int32_t shard) {
  return {Role::kServer, shard};
}
constexpr MemberId agent_at(std::int32_t index) {
  return {Role::kAgent, index};
}

inline monitor::RunFacts facts_of(int workers, int shards = 0) {
  return {.job = "20260331-142501-8c1f03",
          .program = "./train --epochs 5",
          .exchange = "ps",
          .configuration = "workers = 2\n",
          .workers = workers,
          .shards = shards,
          .can_save = true};
}

class BoardDriver {
 public:
  explicit BoardDriver(int workers, int shards = 0) : board(facts_of(workers, shards), {TimePoint(), kStart}) {}

  static constexpr double kStart = 1'774'960'000;
  monitor::Moment now() const { return {TimePoint(passed), kStart + to_seconds(passed)}; }

  void happens(Happening happening) { board.happened(happening, now()); }
  void joins(const MemberId& member, std::uint32_t generation = 1) {
    happens({.what = Happening::What::kJoined,
             .member = member,
             .host = "node" + std::to_string(member.rank),
             .generation = generation,
             .text = describe(member) + " joined"});
    reports_[member] = {};
  }
  void all_join(std::uint32_t generation = 1) {
    for (int shard = 0; shard < board.facts().shards; ++shard) joins(server_at(shard), generation);
    for (int rank = 0; rank < board.facts().workers; ++rank) joins(worker_at(rank), generation);
  }
  void is_lost(const MemberId& member, std::string_view reason, std::uint64_t step = 0) {
    happens({.what = Happening::What::kLost,
             .member = member,
             .generation = board.generation(),
             .step = step,
             .reason = reason,
             .text = describe(member) + " is gone"});
  }

  /// What the member reports next, and from then on.
  Report& of(const MemberId& member) { return reports_[member]; }
  void reports(const MemberId& member) { board.heard(member, of(member), now()); }
  /// A worker makes the steps [first, last), each as long as that, and reports.
  void trains(const MemberId& member, std::uint64_t first, std::uint64_t last,
              Duration step = std::chrono::milliseconds(100)) {
    Metrics& metrics = of(member).metrics;
    for (std::uint64_t i = first; i < last; ++i) {
      if (metrics.steps > 0) metrics.step_time.add(step);
      ++metrics.steps;
      ++metrics.iterations;
      metrics.samples += 32;
    }
    metrics.step = std::max(metrics.step, last - 1);
    metrics.steps_through = last;
    metrics.waited_through = metrics.waited;
    reports(member);
  }

  std::vector<std::string> kinds() const {
    std::vector<std::string> kinds;
    for (const auto& line : board.history()) kinds.push_back(line.kind);
    return kinds;
  }

  monitor::RunBoard board;
  Duration passed{};

 private:
  std::map<MemberId, Report> reports_;
};

}  // namespace tutti::testing
