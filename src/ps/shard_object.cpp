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
  return static_cast<std::size_t>(table.world_size) * (2 * window + 1);
}

}  // namespace

ShardObject::ShardObject(ObjectTable table, int shard, std::uint32_t generation, int window_chunks)
    : table_(std::move(table)),
      shard_(shard),
      generation_(generation),
      window_(static_cast<std::size_t>(window_chunks)),
      plan_(table_.buckets, table_.chunk_bytes),
      map_(plan_, table_.shards),
      pool_(plan_.largest_bytes(), buffer_limit(table_, window_)),
      sets_(plan_.chunks().size()),
      members_(static_cast<std::size_t>(table_.world_size)) {}

Result<std::span<std::byte>> ShardObject::place(int rank, const FrameHeader& push) {
  Member& from = member(rank);
  TUTTI_ASSERT(!from.receiving, "frames of a connection come one after the other");
  TUTTI_TRY(check_length(rank, push));
  TUTTI_TRY(admit(rank, push.chunk, round_of(push)));
  Buffer buffer;
  if (push.payload_bytes > 0) {
    buffer = pool_.take();
    if (!buffer) return refuse(rank, fmt::format("pushes while results of object {} are not read", table_.object));
  }
  std::byte* place = buffer.get();
  from.receiving = Receiving{push.chunk, round_of(push), std::move(buffer)};
  return std::span(place, push.payload_bytes);
}

Result<ShardStep> ShardObject::pushed(int rank) {
  Member& from = member(rank);
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

Result<> ShardObject::check_length(int rank, const FrameHeader& push) const {
  if (push.chunk >= sets_.size()) {
    return refuse(rank,
                  fmt::format("pushed chunk {} of object {}, which has {}", push.chunk, table_.object, sets_.size()));
  }
  const Chunk& chunk = plan_.chunks()[push.chunk];
  if (map_.shard_of(chunk) != shard_) {
    return refuse(rank, fmt::format("pushed chunk {} to shard {}, it belongs to shard {}", push.chunk, shard_,
                                    map_.shard_of(chunk)));
  }
  const std::uint64_t expected = chunk.reduction == Reduction::kBroadcast && rank != 0 ? 0 : chunk.bytes;
  if (push.payload_bytes != expected) {
    return refuse(rank,
                  fmt::format("pushed {} bytes for chunk {}, expected {}", push.payload_bytes, push.chunk, expected));
  }
  return {};
}

Result<PushKind> ShardObject::admit(int rank, std::uint32_t chunk, const Round& round) const {
  const ChunkSet& set = sets_[chunk];
  const PushKind kind = set.judge(rank, round);
  if (kind == PushKind::kOutOfStep) {
    return refuse(rank, fmt::format("pushed chunk {} of {}, but {} waits for {}", chunk, describe(round),
                                    describe(*set.collecting()), describe_ranks(missing(chunk))));
  }
  if (kind == PushKind::kNew && static_cast<std::size_t>(member(rank).waiting) >= window_) {
    return refuse(rank, fmt::format("pushed chunk {} beyond its window of {} chunks", chunk, window_));
  }
  return kind;
}

ShardStep ShardObject::add(int rank, Receiving contribution) {
  Member& from = member(rank);
  ChunkSet& set = sets_[contribution.chunk];
  if (!set.collecting()) ++sets_collecting_;
  set.add(rank, contribution.round, std::move(contribution.bytes), table_.world_size);
  ++from.waiting;
  while (!from.kept.empty() && from.kept.size() + static_cast<std::size_t>(from.waiting) > window_)
    from.kept.pop_front();
  return set.complete() ? complete(contribution.chunk) : ShardStep{};
}

ShardStep ShardObject::complete(std::uint32_t chunk) {
  const Round round = *sets_[chunk].collecting();
  const Kept kept{chunk, round, sets_[chunk].reduce(plan_.chunks()[chunk])};
  --sets_collecting_;
  ShardStep step{true, {}};
  for (int rank = 0; rank < table_.world_size; ++rank) {
    Member& to = member(rank);
    --to.waiting;
    to.kept.push_back(kept);
    step.sends.push_back(make_send(rank, kept));
  }
  return step;
}

ShardStep ShardObject::send_again(int rank, const Receiving& repeat) {
  auto& kept = member(rank).kept;
  const auto found = std::find_if(kept.begin(), kept.end(), [&](const Kept& result) {
    return result.chunk == repeat.chunk && result.round == repeat.round;
  });
  if (found == kept.end()) return {};         // the rank is known to have it
  std::rotate(found, found + 1, kept.end());  // the order stays that of the sends
  return {false, {make_send(rank, kept.back())}};
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
  return {rank, header, kept.result, plan_.chunks()[kept.chunk].bytes};
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
  return sets_collecting_ == 0 &&
         std::none_of(members_.begin(), members_.end(), [](const Member& rank) { return rank.receiving.has_value(); });
}

}  // namespace tutti::ps
