// SPDX-License-Identifier: Apache-2.0
// Small questions to the machine, each answered in a process of its own where the answer may crash or hang.
// Thread safety: the main thread.
#pragma once

#include <string>
#include <vector>

#include "common/config.h"

namespace tutti::launch {

/// The first line that the program writes to its stdout; empty when it cannot be started, fails, or needs more than ten
/// seconds.
std::string first_line_of(const std::vector<std::string>& arguments, const Environment& environment);

/// Whether the shared library can be loaded, tried in a child process: a broken one may end the process that loads it.
bool can_load(const std::string& library);

/// The first line of a file; empty when it cannot be read.
std::string first_line(const std::string& path);

}  // namespace tutti::launch
