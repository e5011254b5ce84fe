// SPDX-License-Identifier: Apache-2.0
// The network interfaces of this host, and which address a run should be reached at.
// Thread safety: functions without state.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"

namespace tutti {

struct Interface {
  std::string name;
  std::string address;  ///< IPv4, in numbers
  bool loopback = false;
  int megabits = 0;  ///< per second; 0: not known
};

/// Those that are up and have an IPv4 address.
std::vector<Interface> interfaces();

std::string host_name();

/// The name of the interface of the default route, out of the text of /proc/net/route; empty when there is none.
std::string default_route_interface(std::string_view route_table);

/// Where this host is reached. `wanted` is an interface's name or one of this host's addresses; empty takes loopback
/// when the run has `one_host`, else the interface of the default route, else the first one that is not loopback.
/// kUnavailable names what is there.
Result<std::string> choose_address(const std::vector<Interface>& present, const std::string& wanted, bool one_host,
                                   const std::string& default_interface);
/// The same for this host.
Result<std::string> own_address(const std::string& wanted, bool one_host);

}  // namespace tutti
