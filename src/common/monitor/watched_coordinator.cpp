// SPDX-License-Identifier: Apache-2.0
#include "common/monitor/watched_coordinator.h"

#include <fmt/format.h>

#include <filesystem>
#include <utility>

#include "common/net/interfaces.h"

namespace tutti::monitor {

Result<std::unique_ptr<WatchedCoordinator>> WatchedCoordinator::start(Loop& loop, Coordinator::Options options,
                                                                      const Clock& clock, Logger log,
                                                                      Coordinator::Callbacks callbacks) {
  std::unique_ptr<WatchedCoordinator> watched(new WatchedCoordinator(clock, log));
  callbacks.happened = [self = watched.get()](const Happening& happening) {
    if (self->monitor_) self->monitor_->happened(happening);
  };
  callbacks.reported = [self = watched.get()](const MemberId& from, const Report& report) {
    if (self->monitor_) self->monitor_->heard(from, report);
  };
  auto coordinator = Coordinator::start(loop, std::move(options), clock, std::move(log), std::move(callbacks));
  if (!coordinator) return std::move(coordinator).error();
  watched->coordinator_ = std::move(*coordinator);
  return watched;
}

WatchedCoordinator::~WatchedCoordinator() {
  if (monitor_) monitor_->close();  // it asks nobody any more
}

Result<> WatchedCoordinator::watch(const RunConfig& config, const std::string& folder) {
  if (config.monitor_port < 0) return {};
  Monitor::Options options;
  options.facts = {.job = std::filesystem::path(folder).filename().string(),
                   .program = fmt::format("{}", fmt::join(config.program, " ")),
                   .exchange = config.exchange,
                   .configuration = to_toml(config),
                   .workers = config.workers,
                   .shards = config.shards,
                   .can_save = !config.checkpoint_dir.empty()};
  options.folder = folder;
  options.address = config.monitor_address;
  options.port = static_cast<std::uint16_t>(config.monitor_port);
  options.host = host_name();
  options.ask = [this](Wish wish) { return coordinator_->ask(wish); };
  options.figures = [this] { return coordinator_->figures(); };
  auto monitor = Monitor::start(std::move(options), clock_, log_);
  if (!monitor) return std::move(monitor).error().wrap("the run cannot be watched (monitor_address, monitor_port)");
  monitor_ = std::move(*monitor);
  return {};
}

}  // namespace tutti::monitor
