// SPDX-License-Identifier: Apache-2.0
// The world of the tests that run on every rank.
#pragma once

#include "common/mpi/mpi_world.h"

namespace tutti::testing {
MpiWorld& ranks();
inline Deadline soon() {
  return SteadyClock().now() + std::chrono::seconds(20);
}
}  // namespace tutti::testing
