// SPDX-License-Identifier: Apache-2.0
// How a command of `tutti` ends that fails: by one line, and the failure's exit code.
// Thread safety: a function without state.
#pragma once

#include <fmt/core.h>

#include <cstdio>

#include "common/result.h"

namespace tutti::launch {

inline int complain(const Failure& failure) {
  fmt::print(stderr, "tutti: {}\n", failure.text());
  return exit_code(failure.code);
}

}  // namespace tutti::launch
