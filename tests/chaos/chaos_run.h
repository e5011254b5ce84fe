// SPDX-License-Identifier: Apache-2.0
// A run of the chaos program under faults, and what it is measured by: the final hash, the steps that were committed,
// how long it took to notice a loss and to go on after it. Thread safety: one thread.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "tests/chaos/marks.h"
#include "tests/common/temporary_folder.h"
#include "tests/support/run_tutti.h"

namespace tutti::testing {

struct ChaosOptions {
  std::string exchange = "shm";
  int workers = 4;
  int shards = 0;
  std::string optimizer = "sgd";
  int hold_ms = 0;
  std::string slow = {};  ///< as the program reads it
  std::int64_t steps = 200;
  std::vector<std::string> configuration = {};
  std::vector<std::string> faults = {};     ///< as the program reads them
  std::vector<std::string> arguments = {};  ///< of the program
  Environment environment = {};
  std::string launcher = "local";
  std::string marks = {};  ///< a folder that goes on from another run's; empty: a new one
  int hosts = 1;           ///< that this machine plays: agents of mpirun's, each with another host's name
};

/// The run as it is started. One thread for every process: another number gives other bits, by LibTorch.
RunTutti::Options chaos_run(const ChaosOptions& options, const std::string& marks);

/// What an undisturbed run of the same kind ends with. Computed once for each kind, kept beside the build's programs as
/// long as these do not change. The exchanges that promise the same bits share it.
std::string undisturbed_hash(const ChaosOptions& options);

/// What the log says of each replacement.
inline constexpr const char* kReplaced = "begins with a new process";

/// How often `text` is in `in`.
std::size_t count(const std::string& in, const std::string& text);

class ChaosRun {
 public:
  explicit ChaosRun(ChaosOptions options);

  RunTutti& run() { return run_; }
  const Marks& marks() const { return marks_; }
  const std::string& marks_folder() const { return marks_folder_; }
  std::string err() const { return run_.err(); }
  /// How often a process was replaced so far.
  std::size_t replaced() const { return count(err(), kReplaced); }
  /// Waits until so many steps are committed.
  bool reaches(std::int64_t committed);
  /// The test's own fault: the moment is kept, then a worker gets the signal.
  void strike(int rank, int signal);
  /// The same for another process.
  void strike(Role role, int rank, pid_t pid, int signal);
  /// The moment of a fault that the test causes by other means.
  void note(const Strike& strike) { own_strikes_.push_back(strike); }

  /// Waits for the end, which has to be a good one, and expects the bits of an undisturbed run.
  void expect_same_bits();
  /// The exit code; nothing: it has not ended in time.
  std::optional<int> finish(std::chrono::milliseconds patience);
  /// Each fault with what was measured of it, in the order in which they struck.
  std::vector<std::pair<Strike, Measured>> measured() const;
  /// Prints a line for each fault, which tests/chaos/run.sh puts into its table: `row`, as in the table of faults.
  /// Expects that so many faults struck, with steps that were committed before and after, and that no more than
  /// `lost` committed steps were lost by each.
  void report(const std::string& row, std::size_t faults, std::int64_t lost = 0) const;

 private:
  void keep_recording();

  const ChaosOptions options_;
  TemporaryFolder folder_;
  const std::string marks_folder_;
  const Marks marks_;
  std::vector<Strike> own_strikes_;
  std::string same_bits_ = "-";
  std::optional<int> code_;  // set: the run has ended
  RunTutti run_;
};

/// Until nothing is left of a run that has ended.
inline constexpr std::chrono::seconds kGone{5};

/// Steps that have to be committed on either side of a fault for it to count as one in the middle of a run.
inline constexpr std::int64_t kStepsAround = 20;

}  // namespace tutti::testing
