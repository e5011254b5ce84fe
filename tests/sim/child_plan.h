// SPDX-License-Identifier: Apache-2.0
// What an agent of a simulated world tells a process that it starts.
#pragma once

#include <cstdint>
#include <memory>

#include "common/bootstrap.h"
#include "common/control/cause.h"
#include "tests/sim/host_memory.h"

namespace tutti::sim {

struct ChildPlan {
  MemberId member;
  std::uint32_t generation = 1;
  bool newcomer = false;               ///< the others go on
  std::shared_ptr<StatusPage> status;  ///< the agent looks at it, too
  std::shared_ptr<HostMemory> memory;  ///< of its host; null: nothing is shared
};

}  // namespace tutti::sim
