// SPDX-License-Identifier: Apache-2.0
#include "ps/server_main.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "common/control/absence.h"
#include "common/control/member.h"
#include "common/control/reporter.h"
#include "common/net/loop.h"
#include "common/pulse.h"
#include "ps/server.h"
#include "ps/sum_threads.h"

namespace tutti::ps {

namespace {

/// The cause for which the run ended, from the loop to the main thread, which sleeps in poll.
class RunEnd {
 public:
  RunEnd() : fd_(::eventfd(0, EFD_CLOEXEC)) {}
  ~RunEnd() { ::close(fd_); }
  RunEnd(const RunEnd&) = delete;
  RunEnd& operator=(const RunEnd&) = delete;

  void set(const Failure& cause) {
    const std::lock_guard lock(mutex_);
    cause_ = cause;
    ::eventfd_write(fd_, 1);
  }
  std::optional<Failure> cause() const {
    const std::lock_guard lock(mutex_);
    return cause_;
  }
  int fd() const noexcept { return fd_; }

 private:
  const int fd_;
  mutable std::mutex mutex_;
  std::optional<Failure> cause_;  // guarded by mutex_
};

Credentials credentials_of(const Bootstrap& bootstrap) {
  return {bootstrap.secret, bootstrap.job, {Role::kServer, bootstrap.rank, bootstrap.generation}};
}

Result<std::unique_ptr<Server>> listen(Loop& loop, const Bootstrap& bootstrap, Member& member, const Clock& clock,
                                       EventSink& events, const Logger& log) {
  const RunConfig& config = bootstrap.config;
  const auto ports = parse_ports(config.ports);
  if (!ports) return ports.error();
  Server::Options options;
  options.shard = {bootstrap.rank, config.shards, bootstrap.contributors(), bootstrap.generation, config.window_chunks};
  options.listen.address = bootstrap.address;
  options.credentials = credentials_of(bootstrap);
  options.listen.port = ports->first;
  options.listen.last_port = ports->last;
  if (config.transport == "auto") options.keeper = bootstrap.host_memory;
  options.timeout = absence_of(config);
  // Where hosts push, not ranks, the coordinator would not know whom a shard means.
  if (bootstrap.contributors() == bootstrap.world_size) {
    options.tell_unreachable = [&member](std::uint32_t generation, const Unreachable& ranks) {
      member.cannot_reach(generation, ranks);
    };
  }
  options.sum_helpers = SumThreads::helpers_for(std::thread::hardware_concurrency());
  return Server::start(loop, options, clock, events, log);
}

/// What the agent says is nothing; that it says no more is the end.
bool is_at_end(int fd) {
  std::array<char, 64> ignored;
  const ssize_t read = ::read(fd, ignored.data(), ignored.size());
  return read == 0 || (read < 0 && errno != EINTR && errno != EAGAIN);
}

void wait_for_end(const RunEnd& run_end, int agent_fd) {
  std::array<pollfd, 2> watched{pollfd{run_end.fd(), POLLIN, 0},
                                pollfd{agent_fd, POLLIN, 0}};  // poll skips a descriptor below zero
  while (true) {
    if (::poll(watched.data(), watched.size(), -1) < 0) continue;  // a signal came
    if (watched[0].revents != 0) return;
    if (watched[1].revents != 0 && is_at_end(agent_fd)) return;
  }
}

}  // namespace

std::string shard_key(int index) {
  return fmt::format("shard/{}", index);
}

Result<int> serve(const Bootstrap& bootstrap, int agent_fd, const Clock& clock, EventSink& events, Logger log,
                  const StatusPage* page, EventSink* trace) {
  if (bootstrap.rank >= bootstrap.config.shards) {
    return fail(Errc::kConfig,
                fmt::format("shard {} was started in a run of {} shards", bootstrap.rank, bootstrap.config.shards));
  }
  RunEnd run_end;
  Loop loop;
  const auto timeout = from_seconds(bootstrap.config.timeout_s);
  auto member = Member::join(loop,
                             {bootstrap.coordinator, credentials_of(bootstrap), bootstrap.host, bootstrap.world_size,
                              timeout, absence_of(bootstrap.config)},
                             log);
  if (!member) return member.error();
  MetricsCounter metrics;
  EventTee tee;
  tee.add(events);
  tee.add(metrics);
  std::unique_ptr<Reporter> reporter;
  if (bootstrap.config.monitor_port >= 0) {
    reporter = std::make_unique<Reporter>(
        loop, metrics, clock, [&member](std::string report) { (*member)->report(std::move(report)); },
        Reporter::Options());
  }
  const auto pulse = page != nullptr ? start_pulse(loop, *page, timeout, log) : nullptr;
  (*member)->record_to(tee);
  if (trace != nullptr) (*member)->record_clock_to(*trace);
  // What a shard asks for belongs to no generation.
  (*member)->on_superseded([&member] {
    (*member)->regroup();
    return Result<>();
  });
  (*member)->on_abort([&](const Failure& cause) {
    tee.record({clock.now(), EventKind::kRunEnded, bootstrap.rank, bootstrap.generation, 0, 0, 0, 0});
    run_end.set(cause);
  });

  auto server = listen(loop, bootstrap, **member, clock, tee, log);
  if (!server) {
    (*member)->report_failure(server.error());
    return server.error();
  }
  TUTTI_TRY((*member)->set(shard_key(bootstrap.rank), (*server)->endpoint().text()));
  log.info("serving at {}", (*server)->endpoint().text());
  wait_for_end(run_end, agent_fd);

  const auto cause = run_end.cause();
  if (!cause || cause->code == Errc::kCancelled) return 0;
  log.info("the run is over: {}", cause->text());
  return exit_code(cause->code);
}

}  // namespace tutti::ps
