// SPDX-License-Identifier: Apache-2.0
// `tutti run` as the parent of what it starts, an mpirun or its only agent: it hands on what is asked of it in a way
// that agents survive (mpirun's own answer to TERM is to kill them), outlives a child that is killed, sees to it that
// nothing of that one is left, and may then start the run again. Thread safety: the main thread of a process that has
// no other; it changes the process' signal mask.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <chrono>
#include <functional>

#include "common/config.h"
#include "common/result.h"
#include "launch/launcher.h"

namespace tutti::launch {

class RunParent {
 public:
  struct End {
    int exit_code = 0;   ///< 128 + signal if one ended it
    bool asked = false;  ///< somebody asked this process to end the run
  };
  RunParent();

  /// To its end. TERM, HUP and USR1 reach the agents as USR1 (a pre-emption), a second one ends mpirun; INT from a
  /// terminal reaches mpirun by itself. This process' own death ends mpirun.
  Result<End> run_mpirun(const CommandLine& line, const Environment& environment);
  /// The same for an agent that is a fork of this process; it watches for this process' death.
  Result<End> run_agent(const std::function<int(pid_t parent)>& agent);
  /// False, and earlier, where somebody asks for the end.
  bool pause(std::chrono::seconds time) const;

 private:
  Result<End> run(const char* name, int death_signal, const std::function<int()>& child);
  [[noreturn]] void become(int death_signal, pid_t parent, const std::function<int()>& child) const;
  void wait_for_the_last() const;

  sigset_t watched_, before_;
};

/// Runs `once` until a run ends as it should, or as it would again, or has been started again `config.restarts` times;
/// says a line for each restart. Returns the last exit code.
Result<int> run_with_restarts(const RunConfig& config, RunParent& parent,
                              const std::function<Result<RunParent::End>()>& once);

/// Whether a run that ended so may end well when it is started again: agents, hosts or processes were lost, and nobody
/// had asked for the end.
bool is_worth_a_restart(int exit_code) noexcept;

}  // namespace tutti::launch
