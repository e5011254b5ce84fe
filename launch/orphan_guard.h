// SPDX-License-Identifier: Apache-2.0
// A small process that outlives its agent by a moment: when the agent is gone, however it went, it kills the process
// groups that the agent had started (a death signal reaches direct children only; behind a shell script the real worker
// is none), takes away what a killed mpirun cannot, and makes the run's trace. Thread safety: one thread at a time.
#pragma once

#include <sys/types.h>

#include <string>
#include <utility>

#include "common/config.h"
#include "common/file.h"
#include "common/result.h"

namespace tutti::launch {

/// The folder of temporary files that a launcher removes at its end, unless it is killed.
struct LauncherEstate {
  pid_t launcher = 0;
  std::string folder;  ///< empty: none
};
/// Of the mpirun that started this process, from the environment it gave.
LauncherEstate estate_of_mpirun(const Environment& environment);

/// Removes what OpenMPI keeps for an mpirun that is dead, and the folder around it, which is shared by all of a user's
/// runs on this host, if this was the last.
void remove_session_folder(const std::string& folder);

class OrphanGuard {
 public:
  /// REQUIRES: the process has one thread (the guard is a fork of it that runs on without exec).
  static Result<OrphanGuard> start(const LauncherEstate& estate);
  /// Ends the guard and reaps it. Groups that are still watched are killed.
  ~OrphanGuard();
  OrphanGuard(OrphanGuard&& other) noexcept : line_(std::move(other.line_)), pid_(std::exchange(other.pid_, -1)) {}

  /// Where a process group's leader registers itself, by its id; negated, it takes itself off.
  int line() const noexcept { return line_.get(); }
  void forget(pid_t group) noexcept;
  /// When the agent is gone, the guard makes this trace of what the run has recorded; empty: it is made already.
  void keep_trace(const std::string& trace) noexcept;

 private:
  OrphanGuard(FileDescriptor line, pid_t pid) : line_(std::move(line)), pid_(pid) {}
  FileDescriptor line_;  // its end of file is the agent's end
  pid_t pid_;
};

}  // namespace tutti::launch
