// SPDX-License-Identifier: Apache-2.0
#include "launch/head.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <span>

#include "common/control/absence.h"
#include "launch/next_world.h"

namespace tutti::launch {
namespace {

/// "20260331-142501-8c1f03": sorts by time, and two jobs of one second differ.
std::string run_name(const JobId& job) {
  return fmt::format("{:%Y%m%d-%H%M%S}-{}", fmt::localtime(std::time(nullptr)), hex(std::span(job).first(3)));
}

Result<> save_config(const RunPlan& plan, const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return fail(Errc::kIo, "cannot make the run's folder " + folder + ": " + error.message());
  const std::string path = folder + "/config.toml";
  std::ofstream file(path);
  file << to_toml(plan.config);
  if (!file.flush()) return fail(Errc::kIo, "cannot write " + path);
  return {};
}

}  // namespace

Result<Secret> secret_of(const RunCard& card, const RunConfig& config) {
  if (!config.secret_file.empty()) return Secret::from_file(config.secret_file);
  return Secret(card.secret);
}

Result<std::unique_ptr<Head>> Head::start(Loop& loop, const RunPlan& plan, const std::string& address,
                                          const Clock& clock, StatusLine& screen, Logger log, bool outlives_agents) {
  std::unique_ptr<Head> head(new Head);
  TUTTI_TRY(head->make_card(plan));
  Coordinator::Options options;
  options.machine.elasticity = elasticity_of(plan, outlives_agents);
  TUTTI_TRY(head->start_coordinator(loop, std::move(options), plan, address, clock, screen, std::move(log)));
  TUTTI_TRY(save_config(plan, head->card_.folder));
  TUTTI_TRY(head->coordinator_->watch(plan.config, head->card_.folder));
  if (plan.config.worker_range.is_fixed()) return head;
  const auto resize = [coordinator = &head->coordinator_->coordinator()](int workers) { coordinator->resize(workers); };
  head->wishes_.emplace(loop, head->card_.folder, resize);
  return head;
}

Head::~Head() = default;

Result<> Head::make_card(const RunPlan& plan) {
  const Nonce random = random_nonce();
  std::copy_n(random.begin(), card_.job.size(), card_.job.begin());
  if (plan.config.secret_file.empty()) {
    const Secret secret = Secret::random();
    std::copy_n(secret.bytes().begin(), card_.secret.size(), card_.secret.begin());
  }
  card_.folder = (std::filesystem::path(plan.config.log_dir) / run_name(card_.job)).string();
  return {};
}

Result<> Head::start_coordinator(Loop& loop, Coordinator::Options options, const RunPlan& plan,
                                 const std::string& address, const Clock& clock, StatusLine& screen, Logger log) {
  auto secret = secret_of(card_, plan.config);
  if (!secret) return secret.error();
  const auto ports = parse_ports(plan.config.ports);
  if (!ports) return ports.error();

  options.machine.workers = plan.config.workers;
  options.machine.servers = plan.config.shards;
  options.machine.agents = static_cast<int>(plan.placement.size());
  options.machine.replacements = plan.config.replacements;
  options.machine.timeout = from_seconds(plan.config.timeout_s);
  options.machine.absence = absence_of(plan.config);
  options.machine.restartable = plan.config.checkpoint_every > 0;
  options.machine.homes = homes_of(plan.placement);
  options.listen.address = address;
  options.listen.port = ports->first;
  options.listen.last_port = ports->last;
  options.secret = *secret;
  options.job = card_.job;
  Coordinator::Callbacks callbacks;
  callbacks.print = [this](const std::string& line) {
    const std::lock_guard lock(mutex_);
    lines_.push_back(line);
  };
  callbacks.notice = [&screen](const std::string& line) {
    screen.write(STDERR_FILENO, fmt::format("tutti: {}\n", line));
  };
  callbacks.finished = [this](int exit_code) { exit_code_.set_value(exit_code); };

  auto coordinator = monitor::WatchedCoordinator::start(loop, options, clock, log, callbacks);
  if (!coordinator) return std::move(coordinator).error();
  coordinator_ = std::move(*coordinator);
  const Endpoint endpoint = coordinator_->coordinator().endpoint();
  card_.coordinator_host = endpoint.host;
  card_.coordinator_port = endpoint.port;
  return {};
}

Result<int> Head::finished(Deadline deadline) {
  auto exit_code = exit_code_.get_future();
  if (exit_code.wait_until(deadline) == std::future_status::ready) return exit_code.get();
  return fail(Errc::kTimeout, "not every member of the run answered at its end");
}

std::vector<int> Head::lost_agents() const {
  return coordinator_->coordinator().lost_agents();
}

std::vector<std::string> Head::lines() const {
  const std::lock_guard lock(mutex_);
  return lines_;
}

}  // namespace tutti::launch
