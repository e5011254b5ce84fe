// SPDX-License-Identifier: Apache-2.0
#include "ps/client_fsm.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/assert.h"
#include "common/bounded_archive.h"

namespace tutti::ps {

ClientFsm::ClientFsm(ObjectTable table, std::vector<std::byte*> memory, int rank, std::uint32_t generation,
                     ClientWays ways)
    : table_(std::move(table)),
      memory_(std::move(memory)),
      rank_(rank),
      generation_(generation),
      ways_(ways),
      plan_(table_.buckets, table_.chunk_bytes),
      map_(plan_, table_.shards, table_.connections),
      shards_(static_cast<std::size_t>(table_.shards)),
      pushed_(plan_.chunks().size(), false),
      left_(table_.buckets.size(), 0) {
  TUTTI_ASSERT(memory_.size() == table_.buckets.size(), "every bucket has its memory");
  for (Shard& shard : shards_) shard.lanes.resize(static_cast<std::size_t>(table_.connections));
  standing_.chunks.resize(plan_.chunks().size(), ChunkState::kIdle);
}

Result<> ClientFsm::opened(int shard, const Opened& answer) {
  if (answer.number != table_.number) return {};  // to an open that this one has replaced
  if (answer.refused != 0) return fail(static_cast<Errc>(answer.refused), answer.why);
  if (answer.window_chunks < 1) {
    return fail(Errc::kProtocol, fmt::format("shard {} grants {} chunks", shard, answer.window_chunks));
  }
  if (answer.in_place && !ways_.is_shared) {
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

Result<ClientStep> ClientFsm::start(const Round& round, std::uint32_t bucket, ChunkState holds) {
  TUTTI_ASSERT(is_open(), "a bucket starts after the open");
  if (bucket >= left_.size())
    return fail(Errc::kUsage, fmt::format("bucket {} of {} was started", bucket, left_.size()));
  if (!standing_.round || round > *standing_.round) {
    if (!finished()) {
      return fail(Errc::kUsage,
                  fmt::format("{} was started before {} was finished", describe(round), describe(this->round())));
    }
    begin_round(round);
  }
  if (round < *standing_.round || bucket < standing_.next_bucket) {
    return fail(Errc::kUsage,
                fmt::format("bucket {} of {} was started again or out of order", bucket, describe(round)));
  }
  standing_.next_bucket = bucket + 1;

  ClientStep step;
  if (plan_.of_bucket(bucket).empty()) step.bucket_done = bucket;
  for (const Chunk& chunk : plan_.of_bucket(bucket)) standing_.chunks[chunk.index] = holds;
  queue(bucket, step);
  return step;
}

void ClientFsm::begin_round(const Round& round) {
  standing_.round = round;
  standing_.next_bucket = 0;
  std::ranges::fill(standing_.chunks, ChunkState::kIdle);
  standing_.not_finite.clear();
}

void ClientFsm::end_round() {
  if (finished()) std::ranges::fill(standing_.chunks, ChunkState::kIdle);
}

void ClientFsm::found_result(std::uint32_t chunk, const ByteRanges& ranges) {
  if (ranges.empty()) return;
  const Chunk& of = plan_.chunks()[chunk];
  ByteRanges& found = standing_.result_ranges[chunk];
  for (const ByteRange& range : ranges) add(found, range);
  const bool is_whole = found.front() == ByteRange{0, of.bytes};
  if (is_whole) standing_.chunks[chunk] = ChunkState::kResult;
  if (is_whole || of.reduction == Reduction::kBroadcast) standing_.result_ranges.erase(chunk);
}

void ClientFsm::queue(std::uint32_t bucket, ClientStep& step) {
  const auto chunks = plan_.of_bucket(bucket);
  left_[bucket] = chunks.size();
  awaited_ += chunks.size();
  for (const Chunk& chunk : chunks) {
    const int shard = map_.shard_of(chunk), connection = map_.connection_of(chunk);
    lane(shard, connection).queued.push_back(chunk.index);
    push_queued(shard, connection, step.pushes);
  }
}

std::vector<std::uint32_t> ClientFsm::started() const {
  std::vector<std::uint32_t> buckets;
  for (std::uint32_t bucket = 0; bucket < standing_.next_bucket; ++bucket) {
    const auto chunks = plan_.of_bucket(bucket);
    if (!chunks.empty() && standing_.chunks[chunks.front().index] != ChunkState::kIdle) buckets.push_back(bucket);
  }
  return buckets;
}

// Results that this rank has are pushed, and answered, too: no rank is done with a round before everybody has pushed
// all of it to the shards as they are now.
ClientStep ClientFsm::go_on() {
  TUTTI_ASSERT(is_open() && finished(), "a machine goes on after its open, once");
  ClientStep step;
  for (const std::uint32_t bucket : started()) queue(bucket, step);
  return step;
}

std::vector<ClientPush> ClientFsm::push_again(int shard, int connection) const {
  std::vector<ClientPush> pushes;
  for (const Chunk& chunk : plan_.chunks()) {
    const bool is_due =
        pushed_[chunk.index] && map_.shard_of(chunk) == shard && map_.connection_of(chunk) == connection;
    if (is_due) pushes.push_back(make_push(shard, connection, chunk));
  }
  return pushes;
}

Result<std::span<std::byte>> ClientFsm::place(int shard, const FrameHeader& result) {
  TUTTI_TRY(check_awaited(shard, result));
  const Chunk& awaited = chunk(result.chunk);
  if (!ways_.keeps_inputs) return std::span(memory_of(awaited), result.payload_bytes);
  std::unique_ptr<std::byte[]>& aside = lane_of(shard, awaited).aside;
  if (!aside) aside = std::make_unique_for_overwrite<std::byte[]>(plan_.largest_bytes());
  return std::span(aside.get(), result.payload_bytes);
}

Result<ClientStep> ClientFsm::result(int shard, const FrameHeader& result, std::vector<NotFiniteElement> not_finite) {
  TUTTI_TRY(check_awaited(shard, result));
  TUTTI_TRY(check_not_finite(result, not_finite));
  const Chunk& awaited = chunk(result.chunk);
  Lane& from = lane_of(shard, awaited);
  if (ways_.keeps_inputs && gets_bytes(shard, awaited))
    std::memcpy(memory_of(awaited), from.aside.get(), awaited.bytes);
  standing_.chunks[result.chunk] = ChunkState::kResult;
  standing_.result_ranges.erase(result.chunk);
  // In a later generation all are told once more, and what they are told then is the same.
  standing_.not_finite.erase(result.chunk);
  if (!not_finite.empty()) standing_.not_finite[result.chunk] = std::move(not_finite);
  pushed_[result.chunk] = false;
  --awaited_;
  const int connection = map_.connection_of(awaited);
  --from.in_flight;
  ClientStep step;
  const std::uint32_t bucket = awaited.bucket;
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
  if (round_of(result) != round()) return refuse("this is " + describe(round()));
  if (!pushed_[result.chunk]) return refuse("none is awaited");
  const std::uint64_t expected = gets_bytes(shard, chunk(result.chunk)) ? chunk(result.chunk).bytes : 0;
  if (result.payload_bytes != expected)
    return refuse(fmt::format("{} bytes, expected {}", result.payload_bytes, expected));
  return {};
}

std::vector<NotFiniteResultElement> ClientFsm::not_finite() const {
  std::vector<NotFiniteResultElement> all;
  for (const auto& [index, elements] : standing_.not_finite) {
    const Chunk& of = chunk(index);
    for (const NotFiniteElement& found : elements)
      all.push_back({of.bucket, of.offset_bytes / size_of(of.dtype) + found.element, found.rank});
  }
  std::ranges::sort(all);
  return all;
}

Result<> ClientFsm::check_not_finite(const FrameHeader& result, const std::vector<NotFiniteElement>& not_finite) const {
  const Chunk& of = chunk(result.chunk);
  const auto is_there = [&](const NotFiniteElement& found) {
    return found.rank >= NotFiniteElement::kNobody && found.rank < table_.world_size &&
           found.element < of.bytes / size_of(of.dtype);
  };
  if (std::ranges::all_of(not_finite, is_there)) return {};
  return fail(Errc::kProtocol,
              fmt::format("chunk {} was said to have elements that are not finite where it has none", result.chunk));
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

bool ClientFsm::brings_bytes(int shard, const Chunk& chunk) const {
  const bool has_some = chunk.reduction != Reduction::kBroadcast || rank_ == 0 || !gets_bytes(shard, chunk);
  return has_some && !is_in_place(shard);
}

bool ClientFsm::gets_bytes(int shard, const Chunk& chunk) const {
  return standing_.chunks[chunk.index] != ChunkState::kResult && !is_in_place(shard);
}

ClientPush ClientFsm::make_push(int shard, int connection, const Chunk& chunk) const {
  const std::uint64_t bytes = brings_bytes(shard, chunk) ? chunk.bytes : 0;
  FrameHeader push = header(FrameType::kPush, chunk.index);
  push.payload_bytes = bytes;
  const std::span<const std::byte> payload(memory_of(chunk), bytes);
  if (standing_.chunks[chunk.index] == ChunkState::kResult) push.flags = kHasResult;
  const auto known = standing_.result_ranges.find(chunk.index);
  if (known == standing_.result_ranges.end()) return {shard, connection, push, payload};
  push.flags = kHasRanges;
  return {shard, connection, push, payload, encode(ResultRanges{known->second})};
}

FrameHeader ClientFsm::header(FrameType type, std::uint32_t chunk) const {
  FrameHeader header;
  header.type = type;
  header.generation = generation_;
  header.step = round().step;
  header.exchange = round().exchange;
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
