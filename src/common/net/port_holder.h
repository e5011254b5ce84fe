// SPDX-License-Identifier: Apache-2.0
// Who listens on a port of this machine, for the message that says the port is taken.
// Thread safety: functions without state.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace tutti {

/// "process 4711 (nginx)". Nothing where the holder belongs to another user or cannot be found.
std::optional<std::string> holder_of_port(std::uint16_t port);

}  // namespace tutti
