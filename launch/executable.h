// SPDX-License-Identifier: Apache-2.0
// Where programs lie: the running `tutti` itself, and the one a user named.
// Thread safety: functions without state.
#pragma once

#include <string>

#include "common/config.h"
#include "common/result.h"

namespace tutti::launch {

/// The path of the running program.
std::string own_executable();

/// A name with a slash is taken as given; another is looked up in PATH, then in the folder of the running program (so
/// that "mnist" finds an example built beside `tutti`). kUsage when there is no such program, naming the places.
Result<std::string> find_program(const std::string& name, const Environment& environment);

/// The first executable of that name in PATH; empty when there is none.
std::string find_in_path(const std::string& name, const Environment& environment);

}  // namespace tutti::launch
