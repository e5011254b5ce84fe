// SPDX-License-Identifier: Apache-2.0
#include "ps/client_fsm.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/assert.h"

namespace tutti::ps {

ClientFsm::ClientFsm(ObjectTable table, std::vector<std::byte*> memory, int rank, std::uint32_t generation,
                     bool is_shared)
    : table_(std::move(table)),
      memory_(std::move(memory)),
      rank_(rank),
      generation_(generation),
      is_shared_(is_shared),
      plan_(table_.buckets, table_.chunk_bytes),
      map_(plan_, table_.shards, table_.connections),
      shards_(static_cast<std::size_t>(table_.shards)),
      pushed_(plan_.chunks().size(), false),
      left_(table_.buckets.size(), 0) {
  TUTTI_ASSERT(memory_.size() == table_.buckets.size(), "every bucket has its memory");
  for (Shard& shard : shards_) shard.lanes.resize(static_cast<std::size_t>(table_.connections));
}

Result<> ClientFsm::opened(int shard, const Opened& answer) {
  if (answer.number != table_.number) return {};  // to an open that this one has replaced
  if (answer.refused != 0) return fail(static_cast<Errc>(answer.refused), answer.why);
  if (answer.window_chunks < 1) {
    return fail(Errc::kProtocol, fmt::format("shard {} grants {} chunks", shard, answer.window_chunks));
  }
  if (answer.in_place && !is_shared_) {
    return fail(Errc::kProtocol, fmt::format("shard {} says that it reads memory which is not shared", shard));
  }
  Shard& from = shards_.at(static_cast<std::size_t>(shard));
  from.window = answer.window_chunks;
  from.in_place = answer.in_place;
  return {};
}

bool ClientFsm::is_open() const {
  return !first_not_open();
}

std::optional<int> ClientFsm::first_not_open() const {
  const auto found = std::find_if(shards_.begin(), shards_.end(), [](const Shard& shard) { return shard.window == 0; });
  if (found == shards_.end()) return std::nullopt;
  return static_cast<int>(found - shards_.begin());
}

Result<ClientStep> ClientFsm::start(const Round& round, std::uint32_t bucket) {
  TUTTI_ASSERT(is_open(), "a bucket starts after the open");
  if (bucket >= left_.size())
    return fail(Errc::kUsage, fmt::format("bucket {} of {} was started", bucket, left_.size()));
  if (!begun_ || round > round_) {
    if (!finished()) {
      return fail(Errc::kUsage,
                  fmt::format("{} was started before {} was finished", describe(round), describe(round_)));
    }
    begun_ = true;
    round_ = round;
    next_bucket_ = 0;
  }
  if (round < round_ || bucket < next_bucket_) {
    return fail(Errc::kUsage,
                fmt::format("bucket {} of {} was started again or out of order", bucket, describe(round)));
  }
  next_bucket_ = bucket + 1;

  ClientStep step;
  const auto chunks = plan_.of_bucket(bucket);
  if (chunks.empty()) step.bucket_done = bucket;
  left_[bucket] = chunks.size();
  awaited_ += chunks.size();
  for (const Chunk& chunk : chunks) {
    const int shard = map_.shard_of(chunk), connection = map_.connection_of(chunk);
    lane(shard, connection).queued.push_back(chunk.index);
    push_queued(shard, connection, step.pushes);
  }
  return step;
}

Result<std::span<std::byte>> ClientFsm::place(int shard, const FrameHeader& result) const {
  TUTTI_TRY(check_awaited(shard, result));
  return std::span(memory_of(chunk(result.chunk)), result.payload_bytes);
}

Result<ClientStep> ClientFsm::result(int shard, const FrameHeader& result) {
  TUTTI_TRY(check_awaited(shard, result));
  pushed_[result.chunk] = false;
  --awaited_;
  const int connection = map_.connection_of(chunk(result.chunk));
  --lane(shard, connection).in_flight;
  ClientStep step;
  const std::uint32_t bucket = chunk(result.chunk).bucket;
  if (--left_[bucket] == 0) step.bucket_done = bucket;
  push_queued(shard, connection, step.pushes);
  return step;
}

Result<> ClientFsm::check_awaited(int shard, const FrameHeader& result) const {
  const auto refuse = [&](const std::string& why) {
    return fail(Errc::kProtocol, fmt::format("shard {} sent a result of chunk {}, {}: {}", shard, result.chunk,
                                             describe(round_of(result)), why));
  };
  if (result.chunk >= pushed_.size()) return refuse(fmt::format("there are {} chunks", pushed_.size()));
  if (result.generation != generation_)
    return refuse(fmt::format("of generation {}, this is {}", result.generation, generation_));
  if (result.sender != shard || map_.shard_of(chunk(result.chunk)) != shard)
    return refuse("it belongs to another shard");
  if (round_of(result) != round_) return refuse("this is " + describe(round_));
  if (!pushed_[result.chunk]) return refuse("none is awaited");
  const std::uint64_t expected = is_in_place(shard) ? 0 : chunk(result.chunk).bytes;
  if (result.payload_bytes != expected)
    return refuse(fmt::format("{} bytes, expected {}", result.payload_bytes, expected));
  return {};
}

void ClientFsm::push_queued(int shard, int connection, std::vector<ClientPush>& pushes) {
  const int window = shards_[static_cast<std::size_t>(shard)].window;
  Lane& to = lane(shard, connection);
  while (!to.queued.empty() && to.in_flight < window) {
    const Chunk& next = chunk(to.queued.front());
    to.queued.pop_front();
    ++to.in_flight;
    pushed_[next.index] = true;
    pushes.push_back(make_push(shard, connection, next));
  }
}

ClientPush ClientFsm::make_push(int shard, int connection, const Chunk& chunk) const {
  const bool receives_only = chunk.reduction == Reduction::kBroadcast && rank_ != 0;
  const std::uint64_t bytes = receives_only || is_in_place(shard) ? 0 : chunk.bytes;
  FrameHeader push = header(FrameType::kPush, chunk.index);
  push.payload_bytes = bytes;
  return {shard, connection, push, {memory_of(chunk), bytes}};
}

FrameHeader ClientFsm::header(FrameType type, std::uint32_t chunk) const {
  FrameHeader header;
  header.type = type;
  header.generation = generation_;
  header.step = round_.step;
  header.exchange = round_.exchange;
  header.object = table_.object;
  header.sender = static_cast<std::uint16_t>(rank_);
  header.chunk = chunk;
  return header;
}

std::optional<ClientWait> ClientFsm::waits_for(std::optional<int> shard) const {
  for (const Chunk& chunk : plan_.chunks()) {
    const int owner = map_.shard_of(chunk);
    if (pushed_[chunk.index] && (!shard || owner == *shard)) return ClientWait{owner, chunk.index, chunk.bucket};
  }
  return std::nullopt;
}

}  // namespace tutti::ps
