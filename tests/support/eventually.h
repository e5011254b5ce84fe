// SPDX-License-Identifier: Apache-2.0
// Waiting for what another process does: until it holds, at most so long.
#pragma once

#include <chrono>
#include <functional>

namespace tutti::testing {

/// Whether `condition` held before `patience` was over. It is asked again every few milliseconds.
bool eventually(std::chrono::milliseconds patience, const std::function<bool()>& condition);

}  // namespace tutti::testing
