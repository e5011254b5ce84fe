// SPDX-License-Identifier: Apache-2.0
// How `tutti run` gets its agents: it finds itself one (under MPI, or as a task of a Slurm step), or becomes mpirun or
// srun which start them, or is the only one. Thread safety: pure functions, but for exec_line.
#pragma once

#include <string>
#include <vector>

#include "common/config.h"
#include "common/result.h"

namespace tutti::launch {

enum class Launch {
  kMpiAgent,    ///< started by mpirun or by srun --mpi=pmix: an agent of its world
  kSlurmAgent,  ///< a task of a Slurm step without MPI: the agents meet in a folder
  kLocal,       ///< the only agent
  kMpirun,      ///< becomes mpirun
  kSrun,        ///< becomes srun
};

/// What of the machine the choice depends on.
struct LaunchSite {
  Environment environment;
  std::string mpirun;  ///< its path; empty: there is none, or tutti was built without MPI
  std::string srun;
  bool root = false;
};
LaunchSite this_site(const Environment& environment);

/// One for each slot: "node2:4" is node2 four times.
std::vector<std::string> expand_hosts(const std::vector<std::string>& hosts);

/// `config.launcher` says which; auto takes a Slurm allocation, then mpirun, then this process. kUnavailable when what
/// was asked for is not there.
Result<Launch> choose_launch(const RunConfig& config, const LaunchSite& site);

/// How many agents mpirun is to start: one for each worker, or for each slot of the hosts that are given; the latter
/// too where shards go to hosts without workers.
int agents_for(const RunConfig& config);

/// A program to become.
struct CommandLine {
  std::vector<std::string> arguments;  ///< [0] is the program's path
  Environment added;                   ///< variables on top of the present ones
  /// As a user would type it.
  std::string text() const;
};
/// `self` is the command line of this `tutti run`, program's path first.
CommandLine mpirun_line(const RunConfig& config, const LaunchSite& site, const std::vector<std::string>& self);
CommandLine srun_line(const RunConfig& config, const LaunchSite& site, const std::vector<std::string>& self);

/// Replaces this process. Returns only when that failed.
Failure exec_line(const CommandLine& line, const Environment& environment);

}  // namespace tutti::launch
