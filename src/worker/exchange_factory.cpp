// SPDX-License-Identifier: Apache-2.0
#include "worker/exchange_factory.h"

#include <fmt/format.h>

#include <chrono>
#include <thread>

#include "common/control/absence.h"
#include "ps/client.h"
#include "ps/server_main.h"
#include "worker/exchange_codec.h"
#include "worker/exchange_gloo.h"
#include "worker/exchange_hierarchical.h"
#include "worker/exchange_ps.h"
#include "worker/exchange_shm.h"
#include "worker/session_impl.h"
#ifdef TUTTI_WITH_MPI
#include "worker/exchange_mpi.h"
#endif
#ifdef TUTTI_WITH_CUDA
#include "worker/exchange_nccl.h"
#endif

namespace tutti::worker {
namespace {

std::string by_default(const RunConfig& config, const Identity& identity, bool on_gpu) {
  if (identity.world_size == 1) return "local";
  if (on_gpu) return "nccl";
  if (config.shards > 0) return "ps";
  if (identity.hosts == 1) return "shm";
  const std::string engine = identity.way == Way::kEmbedded ? "mpi" : "gloo";
  return identity.world_size > identity.hosts ? "shm+" + engine : engine;
}

Failure cannot(std::string_view exchange, std::string_view why) {
  return fail(Errc::kConfig, fmt::format("exchange = \"{}\": {}", exchange, why));
}

ShmOptions shm_options(SessionImpl& session) {
  const Identity& identity = session.identity();
  ShmOptions options;
  options.keeper = identity.host_memory;
  options.team = {static_cast<std::uint32_t>(identity.local_rank), static_cast<std::uint32_t>(identity.local_size)};
  options.host = identity.host;
  options.has_cores = identity.local_size <= static_cast<int>(std::thread::hardware_concurrency());
  return options;
}

/// Where an engine sums between hosts, it would have to go back together with the stage within them.
bool outlives_losses(SessionImpl& session) {
  const std::string_view name = session.exchange_name();
  return session.regrouper() != nullptr && (!has_host_stage(name) || between_hosts(name) == "ps");
}

/// Float32 gradients travel as `wire_dtype` says.
std::unique_ptr<Exchange> on_the_wire(std::unique_ptr<Exchange> exchange, const RunConfig& config) {
  if (config.wire_dtype == "bfloat16") return make_codec_exchange(std::move(exchange), DType::kBFloat16);
  if (config.wire_dtype == "float16") return make_codec_exchange(std::move(exchange), DType::kFloat16);
  return exchange;
}

/// This process in the world of the exchange between hosts, which the hosts' leaders are where there is a stage within
/// hosts.
Identity between_identity(SessionImpl& session) {
  Identity identity = session.identity();
  if (!has_host_stage(session.exchange_name())) return identity;
  identity.rank = identity.host_index;
  identity.world_size = identity.hosts;
  return identity;
}

/// Over MPI the leaders find each other by a call of all ranks.
#ifdef TUTTI_WITH_MPI
Result<std::unique_ptr<Exchange>> make_mpi(SessionImpl& session) {
  if (!has_host_stage(session.exchange_name())) return make_mpi_exchange(*session.mpi());
  auto leaders = session.mpi()->part(session.identity().local_rank == 0, session.deadline());
  TUTTI_TRY(leaders);
  return *leaders ? make_mpi_exchange(std::move(*leaders)) : nullptr;
}
#endif

Result<std::vector<Endpoint>> find_shards(SessionImpl& session, Deadline deadline) {
  std::vector<Endpoint> shards;
  for (int shard = 0; shard < session.config().shards; ++shard) {
    auto text = session.member()->get(ps::shard_key(shard), deadline);
    if (!text) return std::move(text).error().wrap(fmt::format("shard {} told nobody where it listens", shard));
    auto endpoint = parse_endpoint(*text);
    TUTTI_TRY(endpoint);
    shards.push_back(std::move(*endpoint));
  }
  return shards;
}

std::unique_ptr<Exchange> make_ps(SessionImpl& session) {
  FindShards find;
  if (outlives_losses(session)) {
    find = [&session](Deadline deadline) -> Result<ShardsNow> {
      auto shards = find_shards(session, deadline);
      TUTTI_TRY(shards);
      return ShardsNow{session.member()->generation(), std::move(*shards)};
    };
  }
  return on_the_wire(make_ps_exchange(session.shards(), std::move(find)), session.config());
}

/// The exchange that goes from host to host; null where this rank has no part in it. Collective.
Result<std::unique_ptr<Exchange>> make_between(SessionImpl& session, std::uint32_t object) {
  const std::string_view name = between_hosts(session.exchange_name());
#ifdef TUTTI_WITH_MPI
  if (name == "mpi") return make_mpi(session);
#endif
  if (has_host_stage(session.exchange_name()) && session.identity().local_rank != 0) return nullptr;
  if (name == "ps") return make_ps(session);
#ifdef TUTTI_WITH_CUDA
  if (name == "nccl")
    return make_nccl_exchange(*session.member(), {session.identity(), object, outlives_losses(session)},
                              session.clock());
#endif
  if (name == "gloo") {
    return make_gloo_exchange(
        *session.member(),
        {between_identity(session), object, session.deadline() - session.clock().now(), outlives_losses(session)},
        session.clock());
  }
  return fail(Errc::kInternal, fmt::format("no exchange is made for \"{}\"", name));
}

std::unique_ptr<ShmExchange> make_shm(SessionImpl& session, bool shares_back) {
  ShmOptions options = shm_options(session);
  options.shares_back = shares_back;
  return std::make_unique<ShmExchange>(std::move(options), session.clock());
}

}  // namespace

Result<std::string> choose(const RunConfig& config, const Identity& identity, bool on_gpu) {
  const std::string name = config.exchange == "auto" ? by_default(config, identity, on_gpu) : config.exchange;
  if (identity.way == Way::kAlone && name != "local")
    return cannot(name, "a process alone has nobody to exchange with; start it with mpirun or tutti run");
  if (name == "local" && identity.world_size > 1)
    return cannot(name, fmt::format("there are {} ranks, and local exchanges nothing", identity.world_size));
  const std::string_view between = between_hosts(name);
  if (between == "ps" && identity.way != Way::kManaged)
    return cannot(name, "the parameter server's shards are started by `tutti run`");
  if (between == "ps" && config.shards < 1 && (name == "ps" || identity.hosts > 1)) return cannot(name, "shards is 0");
  if (between == "mpi" && identity.way != Way::kEmbedded)
    return cannot(name, "workers of `tutti run` are no MPI ranks; use ps or gloo, or mpirun ./train");
  if (name == "shm" && identity.hosts > 1)
    return cannot(name, fmt::format("the ranks are on {} hosts, which share no memory", identity.hosts));
  if ((name == "shm" || has_host_stage(name)) && on_gpu) return cannot(name, "gradients lie on GPUs; use nccl");
  const bool halves = config.wire_dtype != "float32" && name != "local" && name != "shm" && between != "ps";
  if (halves)
    return fail(Errc::kConfig, fmt::format("wire_dtype = \"{}\": {} adds in the precision of what travels; ps adds in "
                                           "float32",
                                           config.wire_dtype, between));
#ifndef TUTTI_WITH_MPI
  if (between == "mpi") return cannot(name, "tutti was built without MPI");
#endif
#ifndef TUTTI_WITH_CUDA
  if (name == "nccl") return cannot(name, "tutti was built without CUDA (TUTTI_WITH_CUDA)");
#endif
  return name;
}

Result<std::unique_ptr<Exchange>> make_exchange(SessionImpl& session, std::uint32_t object) {
  const std::string_view name = session.exchange_name();
  const Identity& identity = session.identity();
  // One host has no other to go to.
  if (name == "shm" || (has_host_stage(name) && identity.hosts == 1)) return make_shm(session, /*shares_back=*/false);
  auto between = make_between(session, object);
  TUTTI_TRY(between);
  if (!has_host_stage(name)) return std::move(*between);
  return std::make_unique<HierarchicalExchange>(
      HierarchicalExchange::Options{std::string(name), identity.world_size, outlives_losses(session)},
      make_shm(session, /*shares_back=*/true), std::move(*between), session.clock());
}

Result<std::unique_ptr<ps::Client>> make_client(SessionImpl& session) {
  const Identity identity = between_identity(session);
  auto shards = find_shards(session, session.deadline());
  TUTTI_TRY(shards);
  ps::Client::Options options;
  options.shards = std::move(*shards);
  options.outlives_losses = outlives_losses(session);
  options.credentials = {
      session.meeting().secret, session.meeting().job, {Role::kWorker, identity.rank, session.member()->generation()}};
  options.timeout = absence_of(session.config());
  if (!has_host_stage(session.exchange_name())) {
    options.tell_unreachable = [member = session.member()](std::uint32_t generation, const Unreachable& shards) {
      member->cannot_reach(generation, shards);
    };
  }
  options.world_size = identity.world_size;
  options.chunk_bytes = session.config().chunk_bytes;
  options.connections = session.config().connections;
  // Between hosts the leaders' buckets lie in a segment of the stage within hosts.
  if (session.config().transport == "auto" && !has_host_stage(session.exchange_name())) {
    options.placement = {identity.host_memory, identity.local_rank, identity.local_size, options.outlives_losses};
  }
  if (options.outlives_losses)
    return std::make_unique<ps::Client>(*session.loop(), std::move(options), session.clock(), session.events());
  return ps::Client::connect(*session.loop(), std::move(options), session.clock(), session.events(),
                             session.deadline());
}

}  // namespace tutti::worker
