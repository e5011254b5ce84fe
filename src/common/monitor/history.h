// SPDX-License-Identifier: Apache-2.0
// What a run has left of itself: the states in its folder, put together to one that is whole, curves and history
// included.
// Thread safety: functions without state.
#pragma once

#include <boost/json/object.hpp>
#include <string>

#include "common/result.h"

namespace tutti::monitor {

/// A state (state_json.h), parsed. Errors: kBadData, naming `source`.
Result<boost::json::object> parse_state(const std::string& text, const std::string& source);

/// Of the run whose folder that is. A last line that is torn, of a run that was cut off, is left out. Errors: kBadData
/// where there is no history, or a line within it is none.
Result<boost::json::object> read_history(const std::string& folder);

}  // namespace tutti::monitor
