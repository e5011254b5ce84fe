// SPDX-License-Identifier: Apache-2.0
// What a run leaves on the machine. Its processes are known by a variable in their environment, which every descendant
// inherits, whatever became of its parents.
#pragma once

#include <sys/types.h>

#include <set>
#include <string>
#include <vector>

namespace tutti::testing {

/// The name of the variable; its value is the run's own. (Not TUTTI_*: those are keys of the configuration.)
inline constexpr const char* kRunMark = "RUN_OF_TUTTI_TEST";

struct MarkedProcess {
  pid_t pid = 0;
  std::string command;  ///< its arguments, with blanks between
};
/// Those that have not ended: one that only waits to be reaped has.
std::vector<MarkedProcess> marked_processes(const std::string& mark);
/// Whether the process was started with that variable in its environment.
bool has_variable(pid_t pid, const std::string& name, const std::string& value);

/// The entries of /dev/shm.
std::set<std::string> shared_memory();

/// "127.0.0.1:5000": where these processes listen over TCP.
std::set<std::string> listening_of(const std::vector<MarkedProcess>& processes);

}  // namespace tutti::testing
