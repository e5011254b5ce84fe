// SPDX-License-Identifier: Apache-2.0
// One started program: its process id and the reading ends of its output. The child leads a process group of its own,
// dies with the thread that started it, and gets nothing of ours but what is named: the inherited descriptors and the
// given environment. Thread safety: start and destroy on the main thread, since a child dies with the thread that
// forked it.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "common/config.h"
#include "common/file.h"
#include "common/result.h"

namespace tutti::launch {

struct ChildSpec {
  std::vector<std::string> arguments;  ///< [0] is the path of the program
  Environment environment;
  std::vector<int> inherited;  ///< descriptors that stay open, under the same numbers
  std::vector<int> cores;      ///< it may run on; empty: all
  int guard = -1;              ///< OrphanGuard::line(): the child is watched before it can start anything
};

class ChildProcess {
 public:
  /// Errors: kUnavailable, naming the program and the reason (not found, not executable, no memory).
  static Result<ChildProcess> start(const ChildSpec& spec);

  pid_t pid() const noexcept { return pid_; }
  /// Reading ends, non-blocking.
  FileDescriptor take_stdout() noexcept { return std::move(stdout_); }
  FileDescriptor take_stderr() noexcept { return std::move(stderr_); }
  /// To the child and whatever it has started.
  void signal_group(int signal) const noexcept;
  /// Its wait status, once it has ended; what is left of its group is then killed, and it is reaped.
  std::optional<int> reap() noexcept;

 private:
  ChildProcess(pid_t pid, FileDescriptor out, FileDescriptor err)
      : pid_(pid), stdout_(std::move(out)), stderr_(std::move(err)) {}
  pid_t pid_;
  FileDescriptor stdout_, stderr_;
};

/// What a child's environment keeps: an MPI_Init of its own fails under its agent's OMPI_*, PMIX_* and PMI_*.
Environment without_mpi(Environment environment);

/// The cores this process may use, its mask widened to all that the machine or its control group grants: mpirun binds
/// its ranks and thereby their children.
std::vector<int> widen_core_mask();

}  // namespace tutti::launch
