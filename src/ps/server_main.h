// SPDX-License-Identifier: Apache-2.0
// The life of a server process: join the run, publish where the shard is, serve until the run is over. Needs no
// LibTorch.
// Thread safety: called once, on the process' main thread.
#pragma once

#include <string>

#include "common/bootstrap.h"
#include "common/clock.h"
#include "common/event.h"
#include "common/log.h"
#include "common/result.h"

namespace tutti::ps {

/// The key of the run's store under which shard `index` publishes its endpoint ("host:port").
std::string shard_key(int index);

/// Serves shard `bootstrap.rank` of `bootstrap.config.shards` until the coordinator ends the run or `agent_fd` (below
/// zero: none) comes to its end. Returns the process' exit code: 0 when the agent is done with it, else that of the
/// coordinator's cause. Errors: those of joining and of listening; kConfig when the number of shards is not settled. In
/// `page`, if there is one, the loop gives its signs of life; `trace`,
/// if there is one, is told how far this host's clock is from the coordinator's.
Result<int> serve(const Bootstrap& bootstrap, int agent_fd, const Clock& clock, EventSink& events, Logger log,
                  const StatusPage* page = nullptr, EventSink* trace = nullptr);

}  // namespace tutti::ps
