// SPDX-License-Identifier: Apache-2.0
// A managed process must not outlive its agent: the descriptor it got its bootstrap from ends when the agent does.
// Thread safety: any thread.
#pragma once

#include "common/net/loop.h"

namespace tutti::worker {

/// Ends the process with 69 when `fd` reaches its end of file. A PDEATHSIG alone is not enough: a wrapper of the user's
/// may stand between agent and worker.
void watch_agent(Loop& loop, int fd);

}  // namespace tutti::worker
