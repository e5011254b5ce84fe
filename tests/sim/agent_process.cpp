// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/agent_process.h"

#include <csignal>
#include <ranges>

#include "common/pulse.h"
#include "tests/sim/shard_process.h"
#include "tests/sim/worker_process.h"
#include "tests/sim/world.h"

namespace tutti::sim {
namespace {

constexpr Duration kHeartbeat = kTimeout / kHeartbeatsInTimeout;
constexpr int kLostTimeouts = 10;  // as in launch/agent.cpp: without an answer, the coordinator is lost

std::shared_ptr<HostMemory> memory_for(const World& world, int host, const Job& job) {
  if (!world.settings().shares_memory) return nullptr;
  return std::make_shared<HostMemory>(fmt::format("run {}, host {}", job.run, host));
}

}  // namespace

AgentProcess::AgentProcess(World& world, Id id, int host, const Job& job)
    : Process(world, id, host, {Role::kAgent, host}, job),
      membership_(*this, *this, 1),
      memory_(memory_for(world, host, job)) {}

void AgentProcess::on_joined() {
  const Settings& settings = world().settings();
  for (int shard = 0; shard < settings.shards; ++shard) {
    if (settings.host_of_shard(shard) == host()) start_child({Role::kServer, shard}, 1, false);
  }
  for (int rank = 0; rank < settings.workers; ++rank) {
    if (settings.host_of_worker(rank) == host()) start_child({Role::kWorker, rank}, 1, false);
  }
  beat();
}

void AgentProcess::start_child(const MemberId& member, std::uint32_t generation, bool newcomer) {
  check(!children_.contains(member), "agent {} starts {}, whose process still lives", host(), describe(member));
  const auto status = std::make_shared<StatusPage>(StatusPage::create().value());
  if (lease_end_) status->set_lease(*lease_end_);
  const ChildPlan plan{member, generation, newcomer, status, memory_};
  const auto spawn = [&](auto make) { return world().spawn(make, id()); };
  const Id process =
      member.role == Role::kServer
          ? spawn([&](Id id) { return std::make_unique<ShardProcess>(world(), id, host(), job(), plan); })
          : spawn([&](Id id) { return std::make_unique<WorkerProcess>(world(), id, host(), job(), plan); });
  children_.emplace(member, Child{process, status, launch::ChildWatch(kHeartbeat)});
}

void AgentProcess::child_exited(const MemberId& child, int wait_status) {
  children_.erase(child);
  if (is_ending_) return;
  ChildExited message;
  message.member = child;
  message.wait_status = wait_status;
  membership_.tell(FrameType::kChildExited, encode(message));
}

void AgentProcess::beat() {
  if (is_ending_) return;
  Heartbeat message;
  message.sent_ns = static_cast<std::uint64_t>(now().time_since_epoch().count());
  for (auto& [member, child] : children_) message.children.push_back(child.watch.look(member, *child.status, now()));
  membership_.tell(FrameType::kHeartbeat, encode(message));
  if (lease_end_ && now() - *lease_end_ >= (kLostTimeouts - 1) * kTimeout)
    return on_run_ended(fail(Errc::kUnavailable, "the coordinator does not answer"));
  after(kHeartbeat, [this] { beat(); });
}

void AgentProcess::extend_lease(TimePoint sent) {
  lease_end_ = sent + kTimeout;
  for (const Child& child : children_ | std::views::values) child.status->set_lease(*lease_end_);
  world().checks().extends_lease(*this, *lease_end_);
}

Result<> AgentProcess::on_order(FrameType type, std::span<const std::byte> control) {
  if (is_ending_) return {};
  switch (type) {
    case FrameType::kStart: {
      const auto order = decode<Start>(control);
      TUTTI_TRY(order);
      start_child(order->member, order->generation, order->newcomer);
      return {};
    }
    case FrameType::kEvict: {
      const auto order = decode<Evict>(control);
      TUTTI_TRY(order);
      const auto child = children_.find(order->member);
      if (child != children_.end()) world().kill(child->second.process, SIGKILL);
      return {};
    }
    case FrameType::kLease: {
      const auto lease = decode<Lease>(control);
      TUTTI_TRY(lease);
      extend_lease(TimePoint(Duration(static_cast<std::int64_t>(lease->sent_ns))));
      return {};
    }
    case FrameType::kShutdown:
      end(true);
      return {};
    default:
      return fail(Errc::kProtocol, "a frame that is not for agents");
  }
}

void AgentProcess::on_run_ended(const Failure& why) {
  world().tell("{} ends: {}", name(), why.text());
  end(false);
}

void AgentProcess::end(bool was_told) {
  if (std::exchange(is_ending_, true)) return;
  std::vector<Id> processes;
  for (const Child& child : children_ | std::views::values) processes.push_back(child.process);
  for (const Id process : processes) world().kill(process, SIGKILL);
  if (was_told) membership_.tell(FrameType::kAgentDone, {});
  // The loop closes its connection softly: what was said arrives.
  after(std::chrono::milliseconds(10), [this, was_told] {
    if (was_told && host() == 0) return;  // the coordinator is in this process, and not finished yet
    exit(was_told ? 0 : exit_code(Errc::kUnavailable) << 8);
  });
}

}  // namespace tutti::sim
