// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/world.h"

#include <algorithm>
#include <csignal>
#include <cstdio>

#include "tests/sim/agent_process.h"
#include "tests/sim/coordinator_process.h"

namespace tutti::sim {
namespace {

constexpr std::uint64_t kStepsLeftAlone = 50;
constexpr Duration kLeftAloneMax = std::chrono::minutes(10);
constexpr std::uint64_t kEventsMax = 5'000'000;
constexpr Duration kStartDelay = std::chrono::milliseconds(20);
constexpr Duration kRestartDelay = std::chrono::seconds(2);
// A process that reports its child's end has seen it by then.
constexpr Duration kReapDelay = std::chrono::microseconds(100);

}  // namespace

TimePoint Process::now() const {
  return world_.now();
}

void Process::after(Duration delay, std::function<void()> f) {
  world_.after(delay, [&world = world_, id = id_, f = std::move(f)] { world.run(id, f); });
}

void Process::exit(int wait_status) {
  if (!is_dead_) world_.end(*this, wait_status);
}

World::World(std::uint64_t seed, bool tells)
    : seed_(seed),
      tells_(tells),
      draw_(seed),
      settings_(Settings::drawn(draw_)),
      checks_(settings_.table),
      faults_(*this),
      network_(*this) {}

World::~World() = default;

void World::run() {
  start_run();
  faults_.begin();
  while (!is_done_) {
    check(timeline_.step(), "nothing happens any more");
    if (has_dead_) bury();
    check(timeline_.happened() < kEventsMax, "no end after {} events:{}", kEventsMax, describe_processes());
    check(!deadline_ || now() < *deadline_, "{} steps were made, {} were to be made since the last fault:{}",
          checks_.steps(), total_steps_, describe_processes());
  }
  check(faults_.happened() >= 3, "only {} faults happened", faults_.happened());
}

void World::start_run() {
  is_run_over_ = false;
  Job job;
  job.run = ++runs_;
  job.secret = Secret(nonce());
  const Nonce random = nonce();
  std::copy_n(random.begin(), job.id.size(), job.id.begin());
  tell("run {} starts", runs_);
  for (int host = 0; host < settings_.hosts; ++host) {
    const auto agent = spawn([&](auto id) { return std::make_unique<AgentProcess>(*this, id, host, job); }, 0);
    if (host == 0) spawn([&](auto id) { return std::make_unique<CoordinatorProcess>(*this, id, job); }, agent);
  }
}

void World::adopt(std::unique_ptr<Process> process, Process::Id parent) {
  Process& added = *process;
  processes_[added.id()] = {std::move(process), parent};
  added.after(kStartDelay, [&added] { added.start(); });
}

void World::run(Process::Id id, Timeline::Event f) {
  const auto found = processes_.find(id);
  if (found == processes_.end() || found->second.process->is_dead()) return;
  const TimePoint goes_on = found->second.process->stopped_until_;
  if (now() < goes_on) return at(goes_on, [this, id, f = std::move(f)] { run(id, f); });
  f();
}

void World::kill(Process::Id id, int signal) {
  const auto found = processes_.find(id);
  if (found != processes_.end()) end(*found->second.process, signal);
}

// Objects stay until the event is over, which may be one of their own.
void World::end(Process& process, int wait_status) {
  if (std::exchange(process.is_dead_, true)) return;
  has_dead_ = true;
  network_.abandon(process);
  const Process::Id parent = processes_.at(process.id()).parent;
  for (auto& [id, entry] : processes_) {
    if (entry.parent == process.id()) end(*entry.process, SIGKILL);
  }
  if (parent == 0 && wait_status != 0 && process.job().run == runs_)
    run_is_over(fmt::format("{} ended with {}", process.name(), wait_status));
  const MemberId child = process.member();
  after(kReapDelay, [this, parent, child, wait_status] {
    run(parent,
        [this, parent, child, wait_status] { processes_.at(parent).process->child_exited(child, wait_status); });
  });
}

void World::bury() {
  has_dead_ = false;
  std::erase_if(processes_, [](const auto& entry) { return entry.second.process->is_dead(); });
}

void World::run_finished(const Process& coordinator, int exit_code) {
  if (coordinator.job().run != runs_) return;
  if (exit_code != 0) checks_.may_begin_again();  // its coordinator has given up: too many tries without progress
  if (exit_code != 0) return run_is_over(fmt::format("it ended with exit code {}", exit_code));
  check(checks_.steps() == total_steps_, "the run ended after {} of {} steps", checks_.steps(), total_steps_);
  is_done_ = true;
}

// As whoever started the run would: what is left of it is ended, then it is started again.
void World::run_is_over(const std::string& why) {
  if (std::exchange(is_run_over_, true)) return;
  tell("run {} is over: {}", runs_, why);
  after(kRestartDelay, [this] {
    for (auto& [id, entry] : processes_) end(*entry.process, SIGKILL);
    start_run();
  });
}

std::vector<Process*> World::living(std::optional<Role> role) {
  std::vector<Process*> found;
  for (auto& [id, entry] : processes_) {
    const bool is_coordinator = entry.process->name() == "the coordinator";
    if (!is_coordinator && !entry.process->is_dead() && (!role || entry.process->member().role == *role))
      found.push_back(entry.process.get());
  }
  return found;
}

void World::stop(Process& process, Duration duration) {
  tell("--- stop {} for {:.1f} s", process.name(), std::chrono::duration<double>(duration).count());
  if (now() >= process.stopped_until_) process.stopped_since_ = now();
  process.stopped_until_ = std::max(process.stopped_until_, now() + duration);
  // The coordinator is a part of agent 0.
  for (auto& [id, entry] : processes_) {
    if (entry.parent == process.id() && entry.process->name() == "the coordinator")
      entry.process->stopped_until_ = process.stopped_until_;
  }
}

void World::slow(Process& process, Duration by, TimePoint until) {
  tell("--- {} is slow by {:.1f} s", process.name(), to_seconds(by));
  process.slow_by_ = by;
  process.slow_until_ = until;
}

CoordinatorProcess* World::coordinator() {
  for (auto& [id, entry] : processes_) {
    Process& process = *entry.process;
    if (!process.is_dead() && process.job().run == runs_ && process.name() == "the coordinator")
      return static_cast<CoordinatorProcess*>(&process);
  }
  return nullptr;
}

void World::cut_power() {
  for (auto& [id, entry] : processes_) end(*entry.process, SIGKILL);
  disk_.crash(draw_.engine());
}

void World::leave_alone() {
  total_steps_ = checks_.steps() + kStepsLeftAlone;
  deadline_ = now() + kLeftAloneMax;
  tell("left alone after {} steps", checks_.steps());
}

Nonce World::nonce() {
  Nonce nonce;
  for (std::byte& byte : nonce) byte = static_cast<std::byte>(draw_.below(256));
  return nonce;
}

void World::print(const std::string& text) const {
  fmt::print("{:>4} {:10.4f} {}\n", seed_, std::chrono::duration<double>(now().time_since_epoch()).count(), text);
}

std::string World::describe_processes() const {
  std::string text =
      fmt::format(" run {}, {:.1f} s", runs_, std::chrono::duration<double>(now().time_since_epoch()).count());
  for (const auto& [id, entry] : processes_) text += ", " + entry.process->name();
  return text;
}

}  // namespace tutti::sim
