// SPDX-License-Identifier: Apache-2.0
#include "worker/rendezvous.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <span>
#include <thread>

#include "common/control/absence.h"
#include "common/monitor/watched_coordinator.h"
#include "common/net/interfaces.h"
#include "common/secret.h"
#include "worker/agent_watch.h"
#include "worker/embedded.h"

#ifdef TUTTI_WITH_MPI
#include "common/mpi/mpi_world.h"
#else
namespace tutti {
class MpiWorld {};
}  // namespace tutti
#endif

namespace tutti::worker {
namespace {

std::string lookup(const Environment& environment, std::string_view key) {
  const auto found = environment.find(key);
  return found == environment.end() ? std::string() : found->second;
}

Result<> join(Rendezvous& meeting, const Endpoint& coordinator, std::uint32_t generation, const Logger& log) {
  Member::Options options;
  options.coordinator = coordinator;
  options.credentials = {meeting.secret, meeting.job, {Role::kWorker, meeting.identity.rank, generation}};
  options.host = meeting.identity.host;
  options.workers = meeting.identity.world_size;
  options.timeout = from_seconds(meeting.config.timeout_s);
  if (meeting.identity.way == Way::kManaged) options.absence = absence_of(meeting.config);
  auto member = Member::join(*meeting.loop, std::move(options), log);
  TUTTI_TRY(member);
  meeting.member = std::move(*member);
  return {};
}

Result<Rendezvous> meet_managed(const Environment& environment, Logger& log) {
  const std::string text = lookup(environment, "TUTTI_FD");
  int fd = -1;
  std::from_chars(text.data(), text.data() + text.size(), fd);
  auto bootstrap = read_bootstrap(fd);
  if (!bootstrap) return std::move(bootstrap).error().wrap("TUTTI_FD=" + text + " is no descriptor of an agent's");
  Rendezvous meeting;
  meeting.identity = {.way = Way::kManaged,
                      .rank = bootstrap->rank,
                      .world_size = bootstrap->world_size,
                      .local_rank = bootstrap->local_rank,
                      .local_size = bootstrap->local_size,
                      .host_index = bootstrap->host_index,
                      .hosts = bootstrap->hosts,
                      .newcomer = bootstrap->newcomer,
                      .host = bootstrap->host,
                      .address = bootstrap->address,
                      .host_memory = bootstrap->host_memory};
  meeting.config = bootstrap->config;
  meeting.recordings = bootstrap->recordings;
  meeting.job = bootstrap->job;
  meeting.secret = bootstrap->secret;
  const std::string status = lookup(environment, "TUTTI_STATUS_FD");
  int status_fd = -1;
  std::from_chars(status.data(), status.data() + status.size(), status_fd);
  if (auto page = StatusPage::open(status_fd)) meeting.status.emplace(std::move(*page));
  log = Logger::to_stderr(fmt::format("rank {}", bootstrap->rank));
  meeting.loop = std::make_unique<Loop>();
  watch_agent(*meeting.loop, fd);
  TUTTI_TRY(join(meeting, bootstrap->coordinator, bootstrap->generation, log));
  return meeting;
}

Result<Rendezvous> meet_alone(const Environment& environment) {
  auto config = load_config(lookup(environment, "TUTTI_CONFIG"), environment, {});
  TUTTI_TRY(config);
  Rendezvous meeting;
  meeting.config = std::move(*config);
  meeting.identity.host = host_name();
  // Nobody waits for a process that is alone: it leaves files about only where it was told the place.
  if (environment.contains("TUTTI_LOG_DIR") || meeting.config.log_dir != RunConfig().log_dir) {
    const Nonce random = random_nonce();
    meeting.recordings = recordings_folder(meeting.config, "alone-" + hex(std::span(random).first(4)));
  }
  return meeting;
}

#ifdef TUTTI_WITH_MPI
Result<Rendezvous> meet_embedded(const Environment& environment, std::unique_ptr<MpiWorld> mpi, const Clock& clock,
                                 Logger& log) {
  auto config = load_config(lookup(environment, "TUTTI_CONFIG"), environment, {});
  TUTTI_TRY(config);
  Rendezvous meeting;
  meeting.config = std::move(*config);
  meeting.identity.way = Way::kEmbedded;
  meeting.identity.rank = mpi->rank();
  meeting.identity.world_size = mpi->size();
  meeting.identity.host = host_name();
  log = Logger::to_stderr(fmt::format("rank {}", mpi->rank()));
  meeting.mpi = std::move(mpi);
  meeting.loop = std::make_unique<Loop>();
  auto coordinator = introduce(meeting, clock, log);
  TUTTI_TRY(coordinator);
  TUTTI_TRY(join(meeting, *coordinator, 1, log));
  meeting.identity.address = meeting.member->local_address();
  return meeting;
}
#endif

}  // namespace

Rendezvous::Rendezvous() = default;
Rendezvous::~Rendezvous() = default;
Rendezvous::Rendezvous(Rendezvous&&) noexcept = default;
Rendezvous& Rendezvous::operator=(Rendezvous&&) noexcept = default;

std::string recordings_folder(const RunConfig& config, const std::string& name) {
  return config.log_dir + "/" + name + "/recordings";
}

Result<Rendezvous> meet(const Environment& environment, [[maybe_unused]] std::unique_ptr<MpiWorld> mpi,
                        [[maybe_unused]] const Clock& clock, Logger& log) {
#ifdef TUTTI_WITH_MPI
  if (mpi) return meet_embedded(environment, std::move(mpi), clock, log);
#endif
  if (environment.contains("TUTTI_FD")) return meet_managed(environment, log);
#ifdef TUTTI_WITH_MPI
  if (is_mpi_rank(environment)) {
    auto world = MpiWorld::init();
    TUTTI_TRY(world);
    return meet_embedded(environment, std::move(*world), clock, log);
  }
#endif
  return meet_alone(environment);
}

}  // namespace tutti::worker
