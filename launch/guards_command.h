// SPDX-License-Identifier: Apache-2.0
// `tutti bench guards` and `tutti bench watching`: pairs of runs that take turns (bench/guards.h), one pair after the other for each exchange.
// Thread safety: the main thread of a process that has no other.
#pragma once

#include <array>
#include <functional>
#include <string>
#include <vector>

#include "launch/bench_command.h"

namespace tutti::launch {

/// The commands of both runs, first the one whose cost is measured, for each exchange that is measured: the one of `command`, or those that
/// stand faults. `folder` is theirs alone: for their turns, and for checkpoints where `command` has no place for them.
std::vector<std::array<BenchCommand, 2>> guards_pairs(const BenchCommand& command, const std::string& folder);

/// Runs them all; the exit code of the first that fails, whose pair then ends.
int execute_guards(const BenchCommand& command, const std::function<int(const BenchCommand&)>& execute);

}  // namespace tutti::launch
