// SPDX-License-Identifier: Apache-2.0
// What a process under test asks the proxy before it connects. Thread safety: a value.
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace tutti::testing {

struct ProxyQuestion {
  std::uint16_t port = 0;  ///< where the process wants to go to, on loopback
  pid_t pid = 0;           ///< the process
};
// The answer: the port to go to instead, u16; 0: none.

}  // namespace tutti::testing
