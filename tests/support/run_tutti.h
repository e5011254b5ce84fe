// SPDX-License-Identifier: Apache-2.0
// A `tutti` that a test has started: its output, its end, and what it left behind. All that it started dies with the
// object. Thread safety: one thread.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "common/config.h"
#include "launch/child_process.h"
#include "tests/support/leftovers.h"

namespace tutti::testing {

/// Where this build puts its programs.
std::string bin_folder();

class RunTutti {
 public:
  struct Options {
    std::vector<std::string> arguments;  ///< of `tutti`, or of `program`
    Environment environment = {};        ///< on top of the test's own
    std::string program = {};            ///< empty: `tutti`
  };
  /// Logs and temporary files of the run go to a folder of the test's own.
  explicit RunTutti(Options options);
  ~RunTutti();
  RunTutti(const RunTutti&) = delete;
  RunTutti& operator=(const RunTutti&) = delete;

  /// The exit code, 128 + signal if one ended it; nothing when it has not ended in time.
  std::optional<int> wait(std::chrono::milliseconds patience);
  void signal(int signal) const;

  /// So far, of stdout and stderr.
  std::string out() const;
  std::string err() const;
  bool wait_for_output(const std::string& text, std::chrono::milliseconds patience) const;

  /// Processes of this run whose command begins with `command`.
  std::vector<MarkedProcess> processes(const std::string& command = "") const;
  /// Of what was started, while it is there: mpirun, or an agent that is not the program itself. 0: none.
  pid_t first_child() const;
  /// Waits until at least `count` of them are there.
  bool wait_for_processes(std::size_t count, const std::string& command, std::chrono::milliseconds patience) const;
  /// What of this run is still there when `patience` is over, one thing a line: processes, ports they listen on, new
  /// entries of /dev/shm that bear OpenMPI's or tutti's name, temporary files. Empty: nothing.
  std::string leftovers(std::chrono::milliseconds patience) const;

  const std::string& folder() const noexcept { return folder_; }
  /// The one log file of that name among the run's; empty text when there is none.
  std::string log(const std::string& name) const;

 private:
  std::string list_leftovers() const;

  std::string folder_;
  std::string mark_;
  std::set<std::string> shared_memory_before_;
  std::optional<launch::ChildProcess> process_;
  FileDescriptor out_pipe_, err_pipe_;
  mutable std::string out_, err_;
};

}  // namespace tutti::testing
