// SPDX-License-Identifier: Apache-2.0
// common/monitor: what whoever looks at a run sees of it. The board holds the run's state, from what its members report
// and what the coordinator tells; page, status, history and Prometheus are views of it. All memory is bounded.
// Thread safety: owned by one thread, the monitor's.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>

#include "common/control/happening.h"
#include "common/control/report.h"
#include "common/monitor/curve.h"
#include "common/monitor/waits_caused.h"

namespace tutti::monitor {

/// What does not change while a run goes on, but for the size of the world that it begins with.
struct RunFacts {
  std::string job;
  std::string program;
  std::string exchange;
  std::string configuration;    ///< TOML
  int workers = 0, shards = 0;  ///< that it begins with
  bool can_save = false;        ///< there is a folder for checkpoints
};

/// The same moment by both clocks.
struct Moment {
  TimePoint time{};
  double wall_s = 0;  ///< since 1970
};

class RunBoard {
 public:
  enum class Phase { kStarting, kTraining, kRecovering, kStopping, kEnded };

  /// A place of the run and the process in it.
  struct Row {
    std::string host;
    bool is_alive = false;
    std::uint32_t generation = 1;
    std::uint64_t step = 0;             ///< it is at
    std::optional<Report> report = {};  ///< the process' last one
    TimePoint heard{};
    std::uint64_t steps_before = 0;  ///< that the run had made when the process came
    std::optional<std::uint64_t> first_step = {};
    std::uint64_t repeated_steps = 0;   ///< of the process' steps, those that had been made before
    std::optional<double> step_s = {};  ///< what a step took on average between its last two reports with new steps
  };
  struct Line {
    std::uint64_t number = 0;  ///< counted together with the curves' points
    double time_s = 0;
    std::string kind;
    std::optional<MemberId> member;
    std::uint32_t generation = 0;
    std::uint64_t step = 0;
    std::string text;
  };
  /// Of all processes that ever were.
  struct Totals {
    std::map<std::string, std::uint64_t, std::less<>> evictions;  ///< by reason
    std::uint64_t replacements = 0;
    std::uint64_t lost_steps = 0;  ///< made, and made again
    std::uint64_t checkpoints = 0, checkpoints_failed = 0, skipped_steps = 0;
  };
  struct Checkpoint {
    std::uint64_t step = 0;
    TimePoint time{};
    Duration writing{};  ///< how long that took
  };

  RunBoard(RunFacts facts, const Moment& start);

  void heard(const MemberId& from, const Report& report, const Moment& now);
  void happened(const Happening& happening, const Moment& now);

  /// The step that each worker is at: newer than its report.
  void set_steps(const std::map<MemberId, std::uint64_t>& steps);

  const RunFacts& facts() const noexcept { return facts_; }
  /// Of the world as it is now.
  int workers() const noexcept { return workers_; }
  int shards() const noexcept { return shards_; }
  Phase phase() const noexcept { return phase_; }
  std::optional<int> exit_code() const noexcept { return exit_code_; }
  const std::string& cause() const noexcept { return cause_; }
  std::uint32_t generation() const noexcept { return generation_; }
  double started_s() const noexcept { return start_.wall_s; }
  const std::map<MemberId, Row>& rows() const noexcept { return rows_; }
  Duration caused_by(std::int32_t rank) const { return waits_.caused_by(rank); }
  const RunPosition& position() const noexcept { return position_; }
  std::optional<double> samples_per_s() const noexcept { return samples_per_s_; }
  std::optional<double> exposed() const noexcept { return exposed_; }
  /// The newest that rank 0 logged.
  const std::map<std::string, double>& values() const noexcept { return values_; }
  const std::map<std::string, Curve>& curves() const noexcept { return curves_; }
  const std::deque<Line>& history() const noexcept { return history_; }
  const Totals& totals() const noexcept { return totals_; }
  const std::optional<Checkpoint>& checkpoint() const noexcept { return checkpoint_; }
  std::uint64_t furthest_step() const noexcept;
  /// Of the newest point or line.
  std::uint64_t newest() const noexcept { return numbers_; }

 private:
  void count_lost_steps(Row& row, const Metrics& metrics);
  void follow_rank_0(const Report* before, const Report& report, const Moment& now);
  void follow_checkpoints(const Report* before, const Report& report, const MemberId& from, const Moment& now);
  void take_values(const Report& report, const Moment& now);
  void set_world(int workers, int shards);
  void end_processes();
  bool is_everybody_there() const;
  void join(const MemberId& member, const Happening& happening);
  void lose(const MemberId& member, const Happening& happening);
  void add_line(std::string kind, const Happening& happening, const Moment& now);
  void add_point(const std::string& name, double time_s, std::int64_t step, double value);

  const RunFacts facts_;
  const Moment start_;
  int workers_ = 0, shards_ = 0;
  Phase phase_ = Phase::kStarting;
  bool is_asked_to_stop_ = false;
  std::optional<int> exit_code_;
  std::string cause_;
  std::uint32_t generation_ = 1;
  std::map<MemberId, Row> rows_;
  WaitsCaused waits_;
  RunPosition position_;
  std::optional<double> samples_per_s_, exposed_;
  std::map<std::string, double> values_;
  std::map<std::string, Curve> curves_;
  std::deque<Line> history_;
  Totals totals_;
  std::optional<Checkpoint> checkpoint_;
  std::uint64_t steps_made_ = 0;  // of the run, the most that any process had
  std::uint64_t numbers_ = 0;
};

}  // namespace tutti::monitor
