// SPDX-License-Identifier: Apache-2.0
// The board as JSON, for page, `tutti status` and the history in the run's folder: one object that is whole but for
// curves and history, of which it holds what is newer than what its reader has. docs/monitoring.md lists the fields.
// Thread safety: functions without state.
#pragma once

#include <cstdint>
#include <string>

#include "common/monitor/run_board.h"

namespace tutti::monitor {

/// `after`: the number of the newest point or line that the reader has; 0: none, and the configuration comes along.
std::string state_json(const RunBoard& board, std::uint64_t after, const Moment& now);

}  // namespace tutti::monitor
