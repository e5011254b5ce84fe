// SPDX-License-Identifier: Apache-2.0
// `tutti run` as the parent of the mpirun that it starts: it hands on what is asked of it in a way that agents survive
// (mpirun's own answer to TERM is to kill them), outlives an mpirun that is killed, and sees to it that nothing of that
// one is left. Thread safety: the main thread of a process that has no other; it changes the process' signal mask.
#pragma once

#include "common/config.h"
#include "common/result.h"
#include "launch/launcher.h"

namespace tutti::launch {

/// Runs `line` to its end and returns the exit code, 128 + signal if one ended it. TERM, HUP and USR1 reach the agents
/// as USR1 (a pre-emption), a second one ends mpirun; INT from a terminal reaches mpirun by itself. This process' own
/// death ends mpirun.
Result<int> run_mpirun(const CommandLine& line, const Environment& environment);

}  // namespace tutti::launch
