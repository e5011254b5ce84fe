// SPDX-License-Identifier: Apache-2.0
// Which exchange a run uses, and making one for a model.
// Thread safety: the training thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "common/config.h"
#include "common/result.h"
#include "worker/exchange.h"
#include "worker/rendezvous.h"

namespace tutti::ps {
class Client;
}

namespace tutti::worker {

class SessionImpl;

/// What `exchange` of the configuration stands for here: "auto" takes nccl on GPUs, else the parameter server in a
/// managed run that has shards, shm where all ranks are on one host, between hosts mpi in an embedded run and gloo in a
/// managed one, after shm where a host has several ranks, local for a single process. kConfig for one that cannot work
/// here.
Result<std::string> choose(const RunConfig& config, const Identity& identity, bool on_gpu);

/// A new exchange of the session's kind for the model of this number. Not for "local", which needs none.
Result<std::unique_ptr<Exchange>> make_exchange(SessionImpl& session, std::uint32_t object);

/// Connections to all shards, whose places the servers put into the run's store.
Result<std::unique_ptr<ps::Client>> make_client(SessionImpl& session);

}  // namespace tutti::worker
