// SPDX-License-Identifier: Apache-2.0
// The state of a run as text, for a terminal: what the page shows, but for the curves.
// Thread safety: functions without state.
#pragma once

#include <boost/json/object.hpp>
#include <string>

namespace tutti::monitor {

/// Lines of a head, a table with a row for each process, and the last `events` lines of the history, each at most
/// `columns` wide. REQUIRES: parse_state() made it.
std::string state_table(const boost::json::object& state, std::size_t events, int columns);

}  // namespace tutti::monitor
