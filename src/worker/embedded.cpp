// SPDX-License-Identifier: Apache-2.0
#include "worker/embedded.h"

#include <algorithm>
#include <filesystem>
#include <ranges>
#include <span>

#include "common/bounded_archive.h"
#include "common/monitor/watched_coordinator.h"
#include "common/mpi/mpi_world.h"
#include "common/net/interfaces.h"

namespace tutti::worker {
namespace {

/// What rank 0 tells the others over MPI: where the coordinator is and the secret, or why there is none.
struct Introduction {
  std::string failure;
  std::string host;
  std::uint16_t port = 0;
  JobId job{};
  Digest secret{};  ///< zero where every rank reads secret_file itself
  template <class Archive>
  void serialize(Archive& archive) {
    archive(failure, host, port, cereal::binary_data(job.data(), job.size()),
            cereal::binary_data(secret.data(), secret.size()));
  }
};

/// Where this rank stands on its host and its host among all, from every rank's host. Returns the host's first rank.
int find_place(Identity& identity, const std::vector<std::string>& hosts) {
  identity.local_size = 0;
  std::vector<std::string> seen;
  int first = -1;
  for (int rank = 0; rank < identity.world_size; ++rank) {
    const std::string& host = hosts[static_cast<std::size_t>(rank)];
    if (std::ranges::find(seen, host) == seen.end()) seen.push_back(host);
    if (host != identity.host) continue;
    if (first < 0) first = rank;
    if (rank == identity.rank) identity.local_rank = identity.local_size;
    ++identity.local_size;
  }
  identity.host_index = static_cast<int>(std::ranges::find(seen, identity.host) - seen.begin());
  identity.hosts = static_cast<int>(seen.size());
  return first;
}

/// Where MPI's own network is not trusted, the secret is in a file instead.
Result<Secret> secret_of(const Introduction& introduction, const RunConfig& config) {
  if (!config.secret_file.empty()) return Secret::from_file(config.secret_file);
  return Secret(introduction.secret);
}

std::string recordings_of(const JobId& job, const RunConfig& config) {
  return recordings_folder(config, "mpi-" + hex(std::span(job).first(4)));
}

Result<> watch(monitor::WatchedCoordinator& coordinator, const RunConfig& config, const std::string& folder,
               const Logger& log) {
  if (config.monitor_port < 0) return {};
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return fail(Errc::kIo, "cannot make the run's folder " + folder + ": " + error.message());
  TUTTI_TRY(coordinator.watch(config, folder));
  log.info("page: {}", coordinator.page());
  return {};
}

Result<Introduction> host_coordinator(Rendezvous& meeting, bool one_host, const Clock& clock, const Logger& log) {
  const auto address = own_address(meeting.config.interface, one_host);
  TUTTI_TRY(address);
  const auto ports = parse_ports(meeting.config.ports);
  TUTTI_TRY(ports);
  Introduction introduction;
  const Nonce random = random_nonce();
  std::copy_n(random.begin(), introduction.job.size(), introduction.job.begin());
  if (meeting.config.secret_file.empty()) std::ranges::copy(Secret::random().bytes(), introduction.secret.begin());
  const auto secret = secret_of(introduction, meeting.config);
  TUTTI_TRY(secret);

  Coordinator::Options options;
  options.machine.workers = meeting.identity.world_size;
  options.secret = *secret;
  options.job = introduction.job;
  options.listen.address = *address;
  options.listen.port = ports->first;
  options.listen.last_port = ports->last;
  const std::string recordings = recordings_of(introduction.job, meeting.config);
  Coordinator::Callbacks callbacks;
  callbacks.print = [log, recordings](const std::string& line) {
    log.error("{}", line);
    log.error("recordings: {0}; tutti explain {0}", recordings);
  };
  callbacks.finished = [](int) {};
  auto coordinator = monitor::WatchedCoordinator::start(*meeting.loop, options, clock, log, callbacks);
  TUTTI_TRY(coordinator);
  meeting.coordinator = std::move(*coordinator);
  TUTTI_TRY(watch(*meeting.coordinator, meeting.config, std::filesystem::path(recordings).parent_path(), log));
  const Endpoint endpoint = meeting.coordinator->coordinator().endpoint();
  introduction.host = endpoint.host;
  introduction.port = endpoint.port;
  return introduction;
}

}  // namespace

Result<Endpoint> introduce(Rendezvous& meeting, const Clock& clock, const Logger& log) {
  const Deadline deadline = clock.now() + from_seconds(meeting.config.timeout_s);
  auto hosts = meeting.mpi->all_gather(meeting.identity.host, deadline);
  TUTTI_TRY(hosts);
  const int first_on_host = find_place(meeting.identity, *hosts);
  const bool one_host = meeting.identity.hosts == 1;

  std::string bytes;
  if (meeting.mpi->rank() == 0) {
    auto hosted = host_coordinator(meeting, one_host, clock, log);
    Introduction refusal;
    if (!hosted) refusal.failure = hosted.error().text();
    bytes = encode(hosted ? *hosted : refusal);
  }
  auto told = meeting.mpi->broadcast(bytes, 0, deadline);
  TUTTI_TRY(told);
  auto introduction = decode<Introduction>(std::as_bytes(std::span(*told)));
  TUTTI_TRY(introduction);
  if (!introduction->failure.empty()) {
    return fail(Errc::kUnavailable, "rank 0 cannot host the run's coordinator: " + introduction->failure);
  }
  const auto secret = secret_of(*introduction, meeting.config);
  TUTTI_TRY(secret);
  meeting.secret = *secret;
  meeting.job = introduction->job;
  meeting.recordings = recordings_of(meeting.job, meeting.config);
  meeting.identity.host_memory = keeper_name(meeting.job, first_on_host);
  if (meeting.identity.rank == first_on_host) {
    auto keeper = SegmentKeeper::start(*meeting.loop, meeting.identity.host_memory, log);
    TUTTI_TRY(keeper);
    meeting.keeper = std::move(*keeper);
  }
  return Endpoint{introduction->host, introduction->port};
}

}  // namespace tutti::worker
