// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/coordinator_process.h"

#include <algorithm>

#include "common/bounded_archive.h"
#include "tests/sim/world.h"

namespace tutti::sim {
namespace {

CoordinatorOptions options_of(const Settings& settings) {
  CoordinatorOptions options;
  options.workers = settings.workers;
  options.servers = settings.shards;
  options.agents = settings.hosts;
  options.replacements = 3;
  options.restartable = true;
  options.timeout = kTimeout;
  for (int rank = 0; rank < settings.workers; ++rank)
    options.homes[{Role::kWorker, rank}] = settings.host_of_worker(rank);
  for (int shard = 0; shard < settings.shards; ++shard)
    options.homes[{Role::kServer, shard}] = settings.host_of_shard(shard);
  return options;
}

}  // namespace

CoordinatorProcess::CoordinatorProcess(World& world, Id id, const Job& job)
    : Process(world, id, 0, {Role::kAgent, 0}, job), machine_(options_of(world.settings())) {}

void CoordinatorProcess::start() {
  world().network().listen(*this, kCoordinatorPort, [this](Network::End end) {
    auto link = Link::accept(*this, end, *this);
    peers_[link.get()].link = link;
    return link;
  });
}

Result<std::span<std::byte>> CoordinatorProcess::payload_place(Link&, const FrameHeader&, std::span<const std::byte>) {
  return fail(Errc::kProtocol, "tensor bytes for the coordinator");
}

Result<> CoordinatorProcess::on_frame(Link& link, const FrameHeader& header, std::span<const std::byte> control) {
  Peer& peer = peers_.at(&link);
  if (peer.joined) return handle(id_of(link), header, control);
  join(peer, header, control);
  return {};
}

void CoordinatorProcess::join(Peer& peer, const FrameHeader& header, std::span<const std::byte> control) {
  const MemberId who = id_of(*peer.link);
  const auto actions = machine_.join(who, header, control, now());
  if (!actions) {
    Reply refusal;
    refusal.request = 1;
    refusal.ok = false;
    refusal.code = actions.error().code;
    refusal.text = actions.error().text();
    world().tell("refused {}: {}", describe(who), refusal.text);
    send(*peer.link, FrameType::kJoined, encode(refusal));
    const auto refused = peer.link;
    peers_.erase(refused.get());
    return refused->close();
  }
  if (const auto before = members_.find(who); before != members_.end()) {
    const auto old = peers_.at(before->second).link;
    peers_.erase(old.get());
    old->close();
  }
  peer.joined = true;
  failing_.erase(who);
  members_[who] = peer.link.get();
  carry_out(*actions);
}

// A frame of an older generation has no effect, whatever it says.
Result<> CoordinatorProcess::handle(const MemberId& from, const FrameHeader& header,
                                    std::span<const std::byte> control) {
  const bool is_stale = from.role != Role::kAgent && header.generation < machine_.generation();
  const std::uint64_t stale_before = machine_.stale_frames();
  const auto actions = machine_.frame(from, header, control, now());
  TUTTI_TRY(actions);
  check(!is_stale || (actions->empty() && machine_.stale_frames() == stale_before + 1),
        "the coordinator, in generation {}, listened to a frame of {} of generation {}", machine_.generation(),
        describe(from), header.generation);
  if (header.type == FrameType::kAbort && !is_stale) failing_.insert(from);
  carry_out(*actions);
  return {};
}

void CoordinatorProcess::on_closed(Link& link, const Failure& why) {
  const auto found = peers_.find(&link);
  if (found == peers_.end()) return;
  const MemberId who = found->second.joined ? id_of(link) : MemberId{};
  const bool was_member = found->second.joined && members_[who] == &link;
  const auto keep = found->second.link;
  peers_.erase(found);
  if (!was_member) return;
  members_.erase(who);
  carry_out(machine_.closed(who, why, now()));
}

void CoordinatorProcess::carry_out(const CoordinatorFsm::Actions& actions) {
  check(machine_.generation() >= generation_, "the generation went back from {} to {}", generation_,
        machine_.generation());
  const auto is_eviction = [](const CoordinatorAction& action) { return action.type == FrameType::kEvict; };
  is_restarting_ = is_restarting_ || (machine_.generation() > generation_ && std::ranges::any_of(actions, is_eviction));
  generation_ = machine_.generation();
  world().checks().acts(*this, generation_);
  for (const CoordinatorAction& action : actions) {
    const auto member = members_.find(action.to);
    switch (action.kind) {
      case CoordinatorAction::Kind::kSend:
        check_eviction(action);
        if (member != members_.end()) send(*member->second, action.type, action.control);
        break;
      case CoordinatorAction::Kind::kNotice:
        world().noticed(action.happening.text);
        world().tell("{}", action.happening.text);
        break;
      case CoordinatorAction::Kind::kHappened:
        break;
      case CoordinatorAction::Kind::kLine:
        world().tell("{}", action.line);
        break;
      case CoordinatorAction::Kind::kFinished:
        world().run_finished(*this, action.exit_code);
        break;
    }
  }
  set_timer();
}

// Who is silent on every way, or says that it fails, may be evicted, and everybody when all begin again.
void CoordinatorProcess::check_eviction(const CoordinatorAction& action) {
  if (action.type == FrameType::kStart) is_restarting_ = false;
  if (action.type != FrameType::kEvict || is_restarting_) return;
  const MemberId who = decode<Evict>(std::as_bytes(std::span(action.control))).value().member;
  if (!members_.contains(who) || failing_.contains(who)) return;
  for (const Process* process : world().living(who.role)) {
    if (process->member() == who && process->job().run == job().run) world().checks().evicts(*process);
  }
}

void CoordinatorProcess::send(Link& link, FrameType type, const std::string& control) {
  FrameHeader header;
  header.type = type;
  header.generation = machine_.generation();
  link.send(header, control);
}

void CoordinatorProcess::set_timer() {
  const std::uint64_t timer = ++timer_;
  const auto deadline = machine_.next_deadline();
  if (!deadline) return;
  after(*deadline - now(), [this, timer] {
    if (timer == timer_) carry_out(machine_.tick(now()));
  });
}

}  // namespace tutti::sim
