// SPDX-License-Identifier: Apache-2.0
// An embedded run has no agents: rank 0 hosts the coordinator itself, and MPI is used once to tell the others where it
// is and to agree on the secret. Without these connections nobody could name the rank that was lost. Thread safety: the
// training thread.
#pragma once

#include "common/clock.h"
#include "common/log.h"
#include "common/net/connection.h"
#include "common/result.h"
#include "worker/rendezvous.h"

namespace tutti::worker {

/// Collective over `meeting.mpi`: starts the coordinator on rank 0 and fills in secret, job and address on every rank.
/// Returns where the coordinator is.
Result<Endpoint> introduce(Rendezvous& meeting, const Clock& clock, const Logger& log);

}  // namespace tutti::worker
