// SPDX-License-Identifier: Apache-2.0
#include "ps/shard_fsm.h"

#include <fmt/format.h>

#include <utility>

#include "common/assert.h"

namespace tutti::ps {

void ShardFsm::begin_generation(std::uint32_t generation) {
  TUTTI_ASSERT(generation > generation_, "generations ascend");
  generation_ = generation;
  objects_.clear();
}

Result<Opened> ShardFsm::open(int rank, const FrameHeader& header, const ObjectTable& table) {
  TUTTI_TRY(check_sender(rank, header));
  TUTTI_TRY(check(table));
  TUTTI_TRY(check_world(rank, table));
  TUTTI_TRY(agree(rank, table));
  objects_.at(table.object).opened_by(rank);
  return Opened{table.number, options_.window_chunks, 0, {}, false};
}

void ShardFsm::share(int rank, std::uint32_t object, HostPlaces places) {
  objects_.at(object).share(rank, std::move(places));
}

Result<std::span<std::byte>> ShardFsm::place(int rank, const FrameHeader& push, int connection,
                                             ByteRanges result_ranges) {
  const auto object = opened_object(rank, push);
  if (!object) return object.error();
  return (*object)->place(rank, connection, push, std::move(result_ranges));
}

Result<ShardStep> ShardFsm::pushed(int rank, const FrameHeader& push, int connection) {
  const auto object = opened_object(rank, push);
  if (!object) return object.error();
  return (*object)->pushed(rank, connection);
}

Result<Missing> ShardFsm::answer(int rank, const FrameHeader& question) const {
  TUTTI_TRY(check_sender(rank, question));
  const ShardObject* asked = object(question.object);
  return asked == nullptr ? Missing{} : Missing{asked->missing(question.chunk)};
}

void ShardFsm::lost(int rank, int connection) {
  for (auto& [number, object] : objects_) object.lost(rank, connection);
}

const ShardObject* ShardFsm::object(std::uint32_t number) const {
  const auto found = objects_.find(number);
  return found == objects_.end() ? nullptr : &found->second;
}

Result<> ShardFsm::check_sender(int rank, const FrameHeader& header) const {
  if (rank < 0 || rank >= options_.world_size || header.sender != rank) {
    return fail(Errc::kProtocol, fmt::format("rank {} sent a frame of rank {} in a world of {}", rank, header.sender,
                                             options_.world_size));
  }
  if (header.generation != generation_) {
    return fail(Errc::kProtocol, fmt::format("rank {} sent a frame of generation {}, this is generation {}", rank,
                                             header.generation, generation_));
  }
  return {};
}

Result<> ShardFsm::check_world(int rank, const ObjectTable& table) const {
  if (table.world_size == options_.world_size && table.shards == options_.shards) return {};
  return fail(Errc::kMismatch,
              fmt::format("rank {} counts {} ranks and {} shards, shard {} counts {} and {}", rank, table.world_size,
                          table.shards, options_.index, options_.world_size, options_.shards));
}

Result<> ShardFsm::agree(int rank, const ObjectTable& table) {
  const auto found = objects_.find(table.object);
  if (found != objects_.end()) {
    const ObjectTable& agreed = found->second.table();
    if (table.number <= agreed.number) {
      const std::string difference = first_difference(table, agreed);
      if (difference.empty()) return {};
      return fail(Errc::kMismatch, fmt::format("object {} of rank {} differs from the other ranks': {}", table.object,
                                               rank, difference));
    }
    if (!found->second.idle()) {
      return fail(Errc::kProtocol, fmt::format("rank {} opens plan {} of object {} while plan {} is in use", rank,
                                               table.number, table.object, agreed.number));
    }
    objects_.erase(found);
  }
  objects_.try_emplace(table.object, table, options_.index, generation_, options_.window_chunks, tools_);
  return {};
}

Result<ShardObject*> ShardFsm::opened_object(int rank, const FrameHeader& header) {
  TUTTI_TRY(check_sender(rank, header));
  const auto found = objects_.find(header.object);
  if (found == objects_.end() || !found->second.is_opened_by(rank)) {
    return fail(Errc::kProtocol,
                fmt::format("rank {} pushed to object {}, which it has not opened", rank, header.object));
  }
  return &found->second;
}

}  // namespace tutti::ps
