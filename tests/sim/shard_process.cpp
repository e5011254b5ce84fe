// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/shard_process.h"

#include <algorithm>

#include "tests/sim/world.h"

namespace tutti::sim {

std::string shard_key(int shard) {
  return fmt::format("shard/{}", shard);
}

ShardProcess::ShardProcess(World& world, Id id, int host, const Job& job, const ChildPlan& plan)
    : Process(world, id, host, plan.member, job),
      membership_(*this, *this, plan.generation),
      signs_(*this, plan.status),
      memory_(plan.memory) {
  const auto connections = static_cast<std::size_t>(world.settings().table.connections);
  ranks_.resize(static_cast<std::size_t>(world.settings().workers), std::vector<std::shared_ptr<Link>>(connections));
}

void ShardProcess::start() {
  membership_.join(world().settings().workers);
}

void ShardProcess::on_joined() {
  signs_.begin();
  const Settings& settings = world().settings();
  machine_.emplace(ps::ShardOptions{member().rank, settings.shards, settings.workers, membership_.generation(),
                                    settings.window_chunks},
                   ps::SumTools{nullptr, &sum_watch_});
  port_ = world().new_port();
  world().network().listen(*this, port_, [this](Network::End end) {
    proving_.push_back(Link::accept(*this, end, *this));
    return proving_.back();
  });
  publish();
}

void ShardProcess::publish() {
  StoreRequest message;
  message.verb = StoreVerb::kSet;
  message.keys = {shard_key(member().rank)};
  message.value = std::to_string(port_);
  membership_.request(FrameType::kStoreRequest, std::move(message), kTimeout, [this](const Result<Reply>& set) {
    if (!set) return on_run_ended(set.error());
    is_published_ = true;
  });
}

// What a shard asks for belongs to no generation. Its machine follows its ranks.
void ShardProcess::on_regroup(const Regroup&) {
  if (port_ != 0 && !is_published_) publish();
}

// Ranks come from a later generation once all who live on have met in it: nobody waits for what the older one would
// have brought.
void ShardProcess::begin_generation(std::uint32_t generation) {
  for (auto& rank : ranks_) {
    for (auto& link : rank) drop(link);
  }
  machine_->begin_generation(generation);
}

Result<> ShardProcess::on_order(FrameType, std::span<const std::byte>) {
  return fail(Errc::kProtocol, "a frame that is not for shards");
}

void ShardProcess::on_run_ended(const Failure& why) {
  world().tell("{} ends: {}", name(), why.text());
  exit(exit_code(why.code) << 8);
}

std::shared_ptr<Link>& ShardProcess::lane(int rank, int connection) {
  return ranks_.at(static_cast<std::size_t>(rank)).at(static_cast<std::size_t>(connection));
}

void ShardProcess::drop(std::shared_ptr<Link>& lane) {
  if (!lane) return;
  const auto link = std::exchange(lane, nullptr);
  link->close();
  if (machine_) machine_->lost(link->peer().rank, link->peer().connection);
}

// A rank opens its first connection before the others: by it all that it had are told to be dead.
void ShardProcess::on_open(Link& link) {
  const auto found = std::ranges::find(proving_, &link, &std::shared_ptr<Link>::get);
  const auto opened = *found;
  proving_.erase(found);
  const PeerIdentity& peer = link.peer();
  const bool is_rank = peer.role == Role::kWorker && peer.rank >= 0 && peer.rank < world().settings().workers &&
                       peer.connection < world().settings().table.connections;
  if (!is_rank || peer.generation < machine_->generation()) return link.close();
  if (peer.generation > machine_->generation()) begin_generation(peer.generation);
  if (peer.connection == 0) {
    for (auto& old : ranks_[static_cast<std::size_t>(peer.rank)]) drop(old);
  }
  drop(lane(peer.rank, peer.connection));
  lane(peer.rank, peer.connection) = opened;
}

Result<std::span<std::byte>> ShardProcess::payload_place(Link& link, const FrameHeader& header,
                                                         std::span<const std::byte> control) {
  if (header.type != FrameType::kPush) return fail(Errc::kProtocol, "a payload that no shard expects");
  auto known = ps::result_ranges_of(header, control);
  if (!known) return known.error();
  const auto place = machine_->place(link.peer().rank, header, link.peer().connection, std::move(*known));
  check(!place || header.generation == machine_->generation(), "{}, in generation {}, took a push of generation {}",
        name(), machine_->generation(), header.generation);
  return place;
}

Result<> ShardProcess::on_frame(Link& link, const FrameHeader& header, std::span<const std::byte> control) {
  if (header.type == FrameType::kOpen) return open(link, header, control);
  if (header.type == FrameType::kPush) return push(link, header, control);
  return fail(Errc::kProtocol, "a frame that no shard expects");
}

Result<> ShardProcess::open(Link& from, const FrameHeader& header, std::span<const std::byte> control) {
  const auto request = decode<ps::OpenRequest>(control);
  TUTTI_TRY(request);
  auto opened = machine_->open(from.peer().rank, header, request->table);
  if (opened) opened->in_place = share(from.peer().rank, *request);
  ps::Opened reply = opened ? *opened
                            : ps::Opened{request->table.number, 0, static_cast<std::int32_t>(opened.error().code),
                                         opened.error().text(), false};
  FrameHeader frame = header;
  frame.type = FrameType::kOpened;
  frame.sender = static_cast<std::uint16_t>(member().rank);
  from.send(frame, encode(reply));
  return {};
}

Result<> ShardProcess::push(Link& from, const FrameHeader& header, std::span<const std::byte> control) {
  const int rank = from.peer().rank, connection = from.peer().connection;
  if (header.payload_bytes == 0) TUTTI_TRY(payload_place(from, header, control));
  const auto step = pushed(rank, header, connection);
  TUTTI_TRY(step);
  world().checks().acts(*this, machine_->generation());
  if (const auto* object = machine_->object(header.object))
    world().checks().memory_of(*this, *object, world().settings().window_chunks);
  for (const ps::ShardSend& result : step->sends) send(result);
  return {};
}

Result<ps::ShardStep> ShardProcess::pushed(int rank, const FrameHeader& header, int connection) {
  try {
    return machine_->pushed(rank, header, connection);
  } catch (const SumWatch::Died&) {
    return fail(Errc::kCancelled, "the process is dead");
  }
}

void ShardProcess::SumWatch::count(BytePass, const std::byte*, std::size_t) {
  process_.world().acted(process_);
  if (!process_.is_dead()) return;
  process_.world().count(Fault::kDiedInSum);
  throw Died();
}

bool ShardProcess::share(int rank, const ps::OpenRequest& request) {
  if (!memory_ || request.placement.keeper != memory_->keeper()) return false;
  machine_->share(rank, request.table.object, memory_->places(request.placement, request.table));
  return true;
}

void ShardProcess::send(const ps::ShardSend& result) {
  const std::span<const std::byte> bytes(result.result.get(), result.bytes);
  check(result.header.generation == machine_->generation(), "{}, in generation {}, sends a result of generation {}",
        name(), machine_->generation(), result.header.generation);
  // No bytes for a rank that has them.
  if (!bytes.empty()) world().checks().hands_out(*this, result.header, bytes);
  if (const auto link = lane(result.rank, result.connection)) link->send(result.header, {}, bytes);
}

void ShardProcess::on_closed(Link& link, const Failure&) {
  std::erase_if(proving_, [&](const auto& other) { return other.get() == &link; });
  for (auto& rank : ranks_) {
    for (auto& other : rank) {
      if (other.get() == &link) drop(other);
    }
  }
}

}  // namespace tutti::sim
