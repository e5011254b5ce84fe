// SPDX-License-Identifier: Apache-2.0
#include "worker/embedded.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <span>

#include "common/bounded_archive.h"
#include "common/mpi/mpi_world.h"
#include "common/net/interfaces.h"

namespace tutti::worker {
namespace {

/// What rank 0 tells the others over MPI: where the coordinator is and the secret, or why there is none.
struct Introduction {
  std::string failure;
  std::string host;
  std::uint16_t port = 0;
  std::string job, secret;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(failure, host, port, job, secret);
  }
};

std::string as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Introduction host_coordinator(Rendezvous& meeting, bool one_host, const Clock& clock, const Logger& log) {
  Introduction introduction;
  auto address = own_address(meeting.config.interface, one_host);
  const auto ports = parse_ports(meeting.config.ports);
  if (!address || !ports) {
    introduction.failure = !address ? address.error().text() : ports.error().text();
    return introduction;
  }
  const Nonce random = random_nonce();
  std::copy_n(random.begin(), meeting.job.size(), meeting.job.begin());
  auto secret = meeting.config.secret_file.empty() ? Result<Secret>(Secret::random())
                                                   : Secret::from_file(meeting.config.secret_file);
  if (!secret) {
    introduction.failure = secret.error().text();
    return introduction;
  }
  introduction.job = as_text(meeting.job);
  // Where MPI's own network is not trusted, the secret is in a file instead.
  if (meeting.config.secret_file.empty()) introduction.secret = as_text(secret->bytes());

  Coordinator::Options options;
  options.machine.workers = meeting.identity.world_size;
  options.secret = *secret;
  options.job = meeting.job;
  options.listen.address = *address;
  Coordinator::Callbacks callbacks;
  callbacks.print = [log](const std::string& line) { log.error("{}", line); };
  callbacks.finished = [](int) {};
  options.listen.port = ports->first;
  options.listen.last_port = ports->last;
  auto coordinator = Coordinator::start(*meeting.loop, options, clock, log, callbacks);
  if (!coordinator) {
    introduction.failure = coordinator.error().text();
    return introduction;
  }
  meeting.coordinator = std::move(*coordinator);
  introduction.host = meeting.coordinator->endpoint().host;
  introduction.port = meeting.coordinator->endpoint().port;
  return introduction;
}

}  // namespace

Result<Endpoint> introduce(Rendezvous& meeting, const Clock& clock, const Logger& log) {
  const Deadline deadline =
      clock.now() + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(meeting.config.timeout_s));
  auto hosts = meeting.mpi->all_gather(meeting.identity.host, deadline);
  TUTTI_TRY(hosts);
  const bool one_host =
      std::all_of(hosts->begin(), hosts->end(), [&](const std::string& host) { return host == hosts->front(); });

  std::string bytes;
  if (meeting.mpi->rank() == 0) bytes = encode(host_coordinator(meeting, one_host, clock, log));
  auto told = meeting.mpi->broadcast(bytes, 0, deadline);
  TUTTI_TRY(told);
  auto introduction = decode<Introduction>(std::as_bytes(std::span(*told)));
  TUTTI_TRY(introduction);
  if (!introduction->failure.empty())
    return fail(Errc::kUnavailable, "rank 0 cannot host the run's coordinator: " + introduction->failure);

  std::memcpy(meeting.job.data(), introduction->job.data(), std::min(introduction->job.size(), meeting.job.size()));
  if (meeting.config.secret_file.empty()) {
    Digest bytes{};
    std::memcpy(bytes.data(), introduction->secret.data(), std::min(introduction->secret.size(), bytes.size()));
    meeting.secret = Secret(bytes);
  } else {
    auto secret = Secret::from_file(meeting.config.secret_file);
    TUTTI_TRY(secret);
    meeting.secret = *secret;
  }
  return Endpoint{introduction->host, introduction->port};
}

}  // namespace tutti::worker
