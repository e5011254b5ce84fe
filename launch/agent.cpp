// SPDX-License-Identifier: Apache-2.0
#include "launch/agent.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <csignal>
#include <span>
#include <utility>

#include "common/assert.h"
#include "common/control/absence.h"
#include "common/pulse.h"
#include "common/stop_signals.h"
#include "launch/executable.h"
#include "launch/next_world.h"

namespace tutti::launch {
namespace {

constexpr int kInterruptedExit = 128 + SIGINT;
constexpr int kPreemptedExit = 75;
constexpr int kCannotStart = 127;                  // as a shell says it
constexpr auto kGrace = std::chrono::seconds(20);  // Slurm waits for 30 by default
constexpr auto kLauncherCheck = std::chrono::milliseconds(250);

bool is_ignored(int signal) {
  struct sigaction present = {};
  return sigaction(signal, nullptr, &present) == 0 && present.sa_handler == SIG_IGN;
}

}  // namespace

Agent::Agent(AgentSite site, Loop& loop, OrphanGuard& guard, StatusLine& screen, Logger log)
    : site_(std::move(site)),
      loop_(loop),
      screen_(screen),
      log_(std::move(log)),
      signals_(context_, SIGINT, SIGTERM, SIGUSR1),
      launcher_check_(context_),
      grace_(context_),
      heartbeat_(context_),
      recording_(site_.card.recordings(), site_.index, site_.share.host, log_, site_.config.trace),
      supervisor_(context_, guard, from_seconds(site_.config.timeout_s) / kHeartbeatsInTimeout,
                  [this](const ChildExit& exit) {
                    link_->child_exited(exit.member, exit.wait_status, exit.step, exit.last_error,
                                        recording_.ended(exit.member, exit.wait_status, exit.step));
                  }) {
  if (!is_ignored(SIGHUP)) signals_.add(SIGHUP);  // under nohup it stays ignored
}

Agent::~Agent() = default;

Result<int> Agent::run() {
  watch_signals();
  if (site_.launcher != 0) watch_launcher();
  TUTTI_TRY(keep_memory());
  TUTTI_TRY(join());
  beat();
  start_children();
  context_.run();
  return *exit_code_;
}

Result<> Agent::join() {
  AgentLink::Options options;
  options.coordinator = site_.card.coordinator();
  options.credentials = {site_.secret, site_.card.job, {Role::kAgent, site_.index, /*generation=*/1}};
  options.host = site_.share.host;
  options.timeout = from_seconds(site_.config.timeout_s);
  options.absence = absence_of(site_.config);
  AgentLink::Callbacks callbacks;
  callbacks.on_shutdown = [this](int exit_code) {
    boost::asio::post(context_, [this, exit_code] {
      dismissed_ = true;
      end(exit_code);
    });
  };
  callbacks.on_start = [this](const Start& start) {
    boost::asio::post(context_, [this, start] { start_again(start); });
  };
  callbacks.on_evict = [this](const MemberId& member) {
    boost::asio::post(context_, [this, member] { supervisor_.evict(member); });
  };
  callbacks.on_lease = [this](TimePoint sent) { boost::asio::post(context_, [this, sent] { extend_lease(sent); }); };
  callbacks.on_stop = [this] { boost::asio::post(context_, [this] { stop_for_another_world(); }); };
  callbacks.on_assign = [this](const std::string& share) {
    boost::asio::post(context_, [this, share] { enter_world(share); });
  };
  callbacks.on_lost = [this](const Failure& why) {
    boost::asio::post(context_, [this, why] {
      log_.error("the coordinator is gone: {}", why.text());
      end(exit_code(Errc::kUnavailable));
    });
  };
  auto link = AgentLink::join(loop_, std::move(options), std::move(callbacks), log_);
  if (!link) return std::move(link).error().wrap("cannot reach the coordinator at " + site_.card.coordinator().text());
  link_ = std::move(*link);
  if (site_.config.monitor_port < 0) return {};
  reporter_ = std::make_unique<Reporter>(
      loop_, metrics_, clock_, [this](std::string report) { link_->report(std::move(report)); }, Reporter::Options());
  return {};
}

// Each world has keepers of its own: its segments have other shapes.
std::string Agent::host_memory() const {
  return keeper_name(site_.card.job, world_ * site_.agents + site_.host.first_agent);
}

Result<> Agent::keep_memory() {
  keeper_.reset();
  if (site_.index != site_.host.first_agent) return {};
  auto keeper = SegmentKeeper::start(loop_, host_memory(), log_);
  if (!keeper) return std::move(keeper).error();
  keeper_ = std::move(*keeper);
  return {};
}

void Agent::stop_for_another_world() {
  is_stopping_ = true;
  supervisor_.ask_to_stop();
}

void Agent::enter_world(const std::string& share) {
  const auto next = decode<NextWorld>(std::as_bytes(std::span(share)));
  if (!next) return link_->report_failure(next.error());
  if (next->placement.size() != static_cast<std::size_t>(site_.agents)) {
    return link_->report_failure(fail(Errc::kProtocol, "another world is of another number of agents"));
  }
  site_.share = next->placement[static_cast<std::size_t>(site_.index)];
  site_.host = host_place(next->placement, site_.index);
  site_.config.workers = next->workers;
  site_.config.shards = next->shards;
  site_.config.exchange = next->exchange;
  is_stopping_ = false;
  ++world_;
  if (const auto kept = keep_memory(); !kept) link_->report_failure(kept.error());
}

void Agent::start_children() {
  for (int shard : site_.share.shards) start_child(shard_plan(shard));
  for (const WorkerSlot& slot : site_.share.workers) start_child(worker_plan(slot));
}

void Agent::start_child(ChildPlan plan) {
  const MemberId member = plan.member;
  const auto started = supervisor_.start(std::move(plan));
  if (started) return recording_.started(member);
  link_->child_exited(member, W_EXITCODE(kCannotStart, 0), 0, started.error().text());
}

void Agent::start_again(const Start& start) {
  if (exit_code_) return;
  // Where all begin again they ask for the first plan's memory, and what the keeper has is a later one's.
  if (!start.newcomer && start.generation > std::exchange(begun_in_, start.generation)) {
    if (const auto kept = keep_memory(); !kept) return link_->report_failure(kept.error());
  }
  ChildPlan plan = plan_of(start.member);
  plan.bootstrap.generation = start.generation;
  plan.bootstrap.newcomer = start.newcomer;
  start_child(std::move(plan));
  if (interrupted_by_ != 0 || is_stopping_) supervisor_.ask_to_stop();
}

ChildPlan Agent::plan_of(const MemberId& member) const {
  if (member.role == Role::kServer) return shard_plan(member.rank);
  const auto slot = std::ranges::find(site_.share.workers, member.rank, &WorkerSlot::rank);
  TUTTI_ASSERT(slot != site_.share.workers.end(), "the coordinator asks an agent for its own children only");
  return worker_plan(*slot);
}

ChildPlan Agent::worker_plan(const WorkerSlot& slot) const {
  ChildPlan plan;
  plan.member = {Role::kWorker, slot.rank};
  plan.program.arguments = site_.config.program;
  // A program that is not there is executed as it was named: the failure then says so.
  if (auto path = find_program(site_.config.program.front(), site_.environment)) plan.program.arguments.front() = *path;
  plan.program.environment = without_mpi(site_.environment);
  plan.program.environment.erase("TUTTI_TTY");
  if (screen_.on_terminal() && slot.rank == 0) plan.program.environment["TUTTI_TTY"] = "1";
  plan.program.cores = cores_of(site_.cores, slot.local_rank, slot.local_size, site_.host.shards);
  plan.bootstrap = bootstrap_for(plan.member, slot.local_rank, slot.local_size);
  plan.log_path = site_.card.folder + "/rank-" + std::to_string(slot.rank) + ".log";
  if (slot.rank == 0) plan.forward_output = &screen_;
  return plan;
}

ChildPlan Agent::shard_plan(int shard) const {
  ChildPlan plan;
  plan.member = {Role::kServer, shard};
  plan.program.arguments = {own_executable(), "server"};
  plan.program.environment = without_mpi(site_.environment);
  plan.program.cores = site_.cores;
  plan.bootstrap = bootstrap_for(plan.member, 0, 1);
  plan.log_path = site_.card.folder + "/shard-" + std::to_string(shard) + ".log";
  return plan;
}

Bootstrap Agent::bootstrap_for(const MemberId& member, int local_rank, int local_size) const {
  Bootstrap bootstrap;
  bootstrap.role = member.role;
  bootstrap.rank = member.rank;
  bootstrap.world_size = site_.config.workers;
  bootstrap.local_rank = local_rank;
  bootstrap.local_size = local_size;
  bootstrap.host_index = site_.host.index;
  bootstrap.hosts = site_.host.hosts;
  bootstrap.host = site_.share.host;
  bootstrap.host_memory = host_memory();
  bootstrap.recordings = site_.card.recordings();
  bootstrap.address = site_.address;
  bootstrap.coordinator = site_.card.coordinator();
  bootstrap.job = site_.card.job;
  bootstrap.secret = site_.secret;
  bootstrap.config = site_.config;
  return bootstrap;
}

void Agent::watch_signals() {
  signals_.async_wait([this](boost::system::error_code error, int signal) {
    if (error) return;
    on_signal(signal);
    watch_signals();
  });
}

void Agent::on_signal(int signal) {
  if (interrupted_by_ != 0) return on_second_signal(signal);
  interrupted_by_ = signal;
  asked_at_ = std::chrono::steady_clock::now();
  if (signal == SIGINT) return end(kInterruptedExit);
  if (!supervisor_.ask_to_stop()) return end(kPreemptedExit);
  give_grace();
}

void Agent::on_second_signal(int signal) {
  const bool is_same = signal != SIGINT && std::chrono::steady_clock::now() - asked_at_ < kSameAsking;
  if (is_same) return;
  end(kPreemptedExit);
  supervisor_.kill();
}

void Agent::give_grace() {
  grace_.expires_after(kGrace);
  grace_.async_wait([this](boost::system::error_code error) {
    if (error) return;
    log_.warning("the workers did not stop in time");
    end(kPreemptedExit);
  });
}

void Agent::beat() {
  const TimePoint now = SteadyClock().now();
  link_->heartbeat(now, supervisor_.look(now));
  check_lease(now);
  heartbeat_.expires_after(from_seconds(site_.config.timeout_s) / kHeartbeatsInTimeout);
  heartbeat_.async_wait([this](boost::system::error_code error) {
    if (!error) beat();
  });
}

void Agent::extend_lease(TimePoint sent) {
  lease_end_ = sent + from_seconds(site_.config.timeout_s);
  supervisor_.set_lease(*lease_end_);
  if (std::exchange(told_of_silence_, false)) log_.warning("the coordinator answers again");
}

// From the lease's end on the coordinator may give the children's places away, so that they begin no step; but it may
// be cut off from everybody, and then the run goes on when it is back.
void Agent::check_lease(TimePoint now) {
  if (!lease_end_ || now <= *lease_end_ || exit_code_) return;
  if (!std::exchange(told_of_silence_, true)) {
    log_.warning("the coordinator has not answered for {} s: no step begins here until it does",
                 site_.config.timeout_s);
  }
  if (now - *lease_end_ < (kCutOffTimeouts - 1) * from_seconds(site_.config.timeout_s)) return;
  log_.error("the coordinator is gone: it has not answered for {} s", kCutOffTimeouts * site_.config.timeout_s);
  end(exit_code(Errc::kUnavailable));
}

// A death signal would come from the launcher's thread, not from the launcher, and mpirun may fork from a thread that
// it ends.
void Agent::watch_launcher() {
  launcher_check_.expires_after(kLauncherCheck);
  launcher_check_.async_wait([this](boost::system::error_code error) {
    if (error) return;
    if (getppid() == site_.launcher) return watch_launcher();
    supervisor_.kill();
    _exit(exit_code(Errc::kUnavailable));  // MPI would wait for the dead
  });
}

void Agent::end(int exit_code) {
  if (exit_code_) return;
  exit_code_ = exit_code;
  grace_.cancel();
  recording_.run_ended();
  supervisor_.stop([this] {
    link_->done();
    context_.stop();
  });
}

}  // namespace tutti::launch
