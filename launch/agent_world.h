// SPDX-License-Identifier: Apache-2.0
// The agents of one run, as they meet at its start and part at its end: over MPI, through a folder that all hosts of a
// Slurm step see, or as the only one. While the run lasts nothing here is used: who lives is the coordinator's
// business. Thread safety: the main thread only.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/config.h"
#include "common/result.h"

namespace tutti::launch {

class AgentWorld {
 public:
  virtual ~AgentWorld() = default;
  virtual int rank() const noexcept = 0;
  virtual int size() const noexcept = 0;
  /// Collective, in rank order.
  virtual Result<std::vector<std::string>> all_gather(const std::string& contribution, Deadline deadline) = 0;
  /// Collective: agent 0's bytes.
  virtual Result<std::string> broadcast(const std::string& contribution, Deadline deadline) = 0;
  /// Collective, the last call: agents part with the greatest exit code, or with their own if the others do not answer
  /// in time.
  virtual int leave(int exit_code, Deadline deadline) = 0;
  /// Whether the others live on when one of them is killed.
  virtual bool outlives_agents() const noexcept { return false; }
  /// Agents that will not come to leave().
  virtual void forget(const std::vector<int>& lost) { (void)lost; }
  /// The process whose death ends this agent; 0: none.
  virtual pid_t launcher() const noexcept { return 0; }
};

/// The only agent's; `launcher` is the process whose death ends it.
std::unique_ptr<AgentWorld> make_local_world(pid_t launcher = 0);
/// kUnavailable where tutti was built without MPI.
Result<std::unique_ptr<AgentWorld>> open_mpi_world();

}  // namespace tutti::launch
