// SPDX-License-Identifier: Apache-2.0
#include "ps/shard_object.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/assert.h"

namespace tutti::ps {

namespace {

Failure refuse(int rank, const std::string& why) {
  return fail(Errc::kProtocol, fmt::format("rank {} {}", rank, why));
}

/// Twice the window: a result counts until the socket's handler has run, which may be after its rank has used the
/// credit again. A rank that keeps pushing and never reads comes to an end here.
std::size_t buffer_limit(const ObjectTable& table, std::size_t window) {
  return static_cast<std::size_t>(table.world_size) * static_cast<std::size_t>(table.connections) * (2 * window + 1);
}

}  // namespace

ShardObject::ShardObject(ObjectTable table, int shard, std::uint32_t generation, int window_chunks, SumTools tools)
    : table_(std::move(table)),
      shard_(shard),
      generation_(generation),
      window_(static_cast<std::size_t>(window_chunks)),
      tools_(tools),
      plan_(table_.buckets, table_.chunk_bytes),
      map_(plan_, table_.shards, table_.connections),
      journal_{std::nullopt, shard, generation},
      pool_(plan_.largest_bytes(), buffer_limit(table_, window_)),
      sets_(plan_.chunks().size()),
      members_(static_cast<std::size_t>(table_.world_size)) {
  for (Member& member : members_) member.lanes.resize(static_cast<std::size_t>(table_.connections));
}

void ShardObject::opened_by(int rank) {
  member(rank).opened = true;
  member(rank).buckets.clear();
}

void ShardObject::share(int rank, HostPlaces places) {
  member(rank).buckets = std::move(places.buckets);
  if (places.journal) journal_.journal = std::move(places.journal);  // all ranks of a host have the same one
}

void ShardObject::lost(int rank, int connection) {
  if (connection < table_.connections) lane(rank, connection).receiving.reset();
}

Result<std::span<std::byte>> ShardObject::place(int rank, int connection, const FrameHeader& push,
                                                ByteRanges result_ranges) {
  TUTTI_TRY(check_chunk(rank, connection, push));
  Lane& from = lane(rank, connection);
  TUTTI_ASSERT(!from.receiving, "frames of a connection come one after the other");
  TUTTI_TRY(check_length(rank, push));
  TUTTI_TRY(check_ranges(rank, push, result_ranges));
  TUTTI_TRY(admit(rank, push.chunk, round_of(push)));
  Buffer buffer;
  if (push.payload_bytes > 0) {
    buffer = pool_.take();
    if (!buffer) return refuse_to_grow(rank);
  }
  std::byte* place = buffer.get();
  from.receiving = Receiving{push.chunk, round_of(push), std::move(buffer), (push.flags & kHasResult) != 0,
                             std::move(result_ranges)};
  return std::span(place, push.payload_bytes);
}

Failure ShardObject::refuse_to_grow(int rank) const {
  return refuse(rank, fmt::format("pushes while results of object {} are not read", table_.object));
}

Result<ShardStep> ShardObject::pushed(int rank, int connection) {
  Lane& from = lane(rank, connection);
  TUTTI_ASSERT(from.receiving, "a push has a place before it is whole");
  Receiving push = *std::exchange(from.receiving, std::nullopt);
  // Asked once more: another rank may have begun the set while the bytes came in.
  const auto kind = admit(rank, push.chunk, push.round);
  if (!kind) return kind.error();
  switch (*kind) {
    case PushKind::kNew:
      return add(rank, std::move(push));
    case PushKind::kPast:
      return send_again(rank, push);
    default:
      return ShardStep{};
  }
}

Result<> ShardObject::check_chunk(int rank, int connection, const FrameHeader& push) const {
  if (push.chunk >= sets_.size()) {
    return refuse(rank,
                  fmt::format("pushed chunk {} of object {}, which has {}", push.chunk, table_.object, sets_.size()));
  }
  const Chunk& chunk = plan_.chunks()[push.chunk];
  if (map_.shard_of(chunk) != shard_) {
    return refuse(rank, fmt::format("pushed chunk {} to shard {}, it belongs to shard {}", push.chunk, shard_,
                                    map_.shard_of(chunk)));
  }
  if (map_.connection_of(chunk) != connection) {
    return refuse(rank, fmt::format("pushed chunk {} on connection {}, it belongs to {}", push.chunk, connection,
                                    map_.connection_of(chunk)));
  }
  return {};
}

Result<> ShardObject::check_length(int rank, const FrameHeader& push) const {
  const Chunk& chunk = plan_.chunks()[push.chunk];
  const bool only_receives = chunk.reduction == Reduction::kBroadcast && rank != 0;
  const bool brings_bytes = !only_receives || (push.flags & kHasResult) != 0;
  const std::uint64_t expected = brings_bytes && !is_in_place(rank) ? chunk.bytes : 0;
  if (push.payload_bytes != expected) {
    return refuse(rank,
                  fmt::format("pushed {} bytes for chunk {}, expected {}", push.payload_bytes, push.chunk, expected));
  }
  return {};
}

Result<> ShardObject::check_ranges(int rank, const FrameHeader& push, const ByteRanges& result_ranges) const {
  const Chunk& chunk = plan_.chunks()[push.chunk];
  const bool has_some = (push.flags & kHasRanges) != 0;
  const bool is_right = has_some == !result_ranges.empty() &&
                        are_within(result_ranges, chunk.bytes, ChunkJournal::kBlockBytes) &&
                        !(has_some && chunk.reduction == Reduction::kBroadcast);
  if (is_right) return {};
  return refuse(rank, fmt::format("pushed chunk {}, of {} bytes, with {} parts that it cannot have results of",
                                  push.chunk, chunk.bytes, result_ranges.size()));
}

Result<PushKind> ShardObject::admit(int rank, std::uint32_t chunk, const Round& round) const {
  const ChunkSet& set = sets_[chunk];
  const PushKind kind = set.judge(rank, round);
  if (kind == PushKind::kOutOfStep) {
    return refuse(rank, fmt::format("pushed chunk {} of {}, but {} waits for {}", chunk, describe(round),
                                    describe(*set.collecting()), describe_ranks(missing(chunk))));
  }
  const Lane& from = member(rank).lanes[static_cast<std::size_t>(connection_of(chunk))];
  if (kind == PushKind::kNew && static_cast<std::size_t>(from.waiting) >= window_) {
    return refuse(rank, fmt::format("pushed chunk {} beyond its window of {} chunks", chunk, window_));
  }
  return kind;
}

Contribution ShardObject::contribution(int rank, Receiving push) const {
  if (!is_in_place(rank)) return {std::move(push.bytes), nullptr, push.is_result, std::move(push.result_ranges)};
  const Chunk& chunk = plan_.chunks()[push.chunk];
  const std::shared_ptr<std::byte>& bucket = member(rank).buckets[chunk.bucket];
  return {Buffer(), {bucket, bucket.get() + chunk.offset_bytes}, push.is_result, std::move(push.result_ranges)};
}

Result<ShardStep> ShardObject::add(int rank, Receiving push) {
  const std::uint32_t chunk = push.chunk;
  const Round round = push.round;
  Lane& from = lane(rank, connection_of(chunk));
  ChunkSet& set = sets_[chunk];
  if (!set.collecting()) ++sets_collecting_;
  set.add(rank, round, contribution(rank, std::move(push)), table_.world_size);
  ++from.waiting;
  while (!from.kept.empty() && from.kept.size() + static_cast<std::size_t>(from.waiting) > window_)
    from.kept.pop_front();
  return set.complete() ? complete(rank, chunk) : ShardStep{};
}

Result<ShardStep> ShardObject::complete(int last, std::uint32_t number) {
  const Chunk& chunk = plan_.chunks()[number];
  ChunkSet& set = sets_[number];
  Buffer spare;
  if (set.needs_spare() && !(spare = pool_.take())) return refuse_to_grow(last);
  const Round round = *set.collecting();
  std::vector<bool> has_it;
  for (int rank = 0; rank < table_.world_size; ++rank) has_it.push_back(is_in_place(rank) || set.has_result(rank));
  const auto [result, not_finite] = set.reduce(chunk, std::move(spare), tools_, journal_);
  --sets_collecting_;
  ShardStep step{true, chunk.bytes, {}};
  for (int rank = 0; rank < table_.world_size; ++rank) {
    Lane& to = lane(rank, map_.connection_of(chunk));
    --to.waiting;
    to.kept.push_back({number, round, has_it[static_cast<std::size_t>(rank)] ? nullptr : result, not_finite});
    step.sends.push_back(make_send(rank, to.kept.back()));
  }
  return step;
}

// The rank is the process that pushed it the first time: another one would be of another generation.
ShardStep ShardObject::send_again(int rank, const Receiving& repeat) {
  auto& kept = lane(rank, connection_of(repeat.chunk)).kept;
  const auto found = std::find_if(kept.begin(), kept.end(), [&](const Kept& result) {
    return result.chunk == repeat.chunk && result.round == repeat.round;
  });
  if (found == kept.end()) return {};         // the rank is known to have it
  std::rotate(found, found + 1, kept.end());  // the order stays that of the sends
  return {false, 0, {make_send(rank, kept.back())}};
}

ShardSend ShardObject::make_send(int rank, const Kept& kept) const {
  FrameHeader header;
  header.type = FrameType::kResult;
  header.generation = generation_;
  header.step = kept.round.step;
  header.exchange = kept.round.exchange;
  header.object = table_.object;
  header.sender = static_cast<std::uint16_t>(shard_);
  header.chunk = kept.chunk;
  if (!kept.not_finite.empty()) header.flags = kNotFinite;
  const std::size_t bytes = kept.result ? plan_.chunks()[kept.chunk].bytes : 0;
  return {rank, connection_of(kept.chunk), header, kept.result, bytes, kept.not_finite};
}

std::vector<std::int32_t> ShardObject::missing(std::uint32_t chunk) const {
  std::vector<std::int32_t> ranks;
  if (chunk >= sets_.size() || !sets_[chunk].collecting()) return ranks;
  for (int rank = 0; rank < table_.world_size; ++rank) {
    if (!sets_[chunk].has(rank)) ranks.push_back(rank);
  }
  return ranks;
}

bool ShardObject::idle() const noexcept {
  const auto is_receiving = [](const Lane& lane) { return lane.receiving.has_value(); };
  return sets_collecting_ == 0 && std::none_of(members_.begin(), members_.end(), [&](const Member& rank) {
           return std::any_of(rank.lanes.begin(), rank.lanes.end(), is_receiving);
         });
}

}  // namespace tutti::ps
