// SPDX-License-Identifier: Apache-2.0
// The lanes of a worker's exchange: its buckets from their start until their result is in place, and where these travel
// to shards each chunk's push (from when its connection had it to when the last byte was with the system) and pull
// (from the header of its result to the last byte; of no length where the chunk lies in memory that both sides share).
// Thread safety: one thread.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>

#include "common/trace/lanes.h"
#include "common/trace/timeline.h"

namespace tutti {

class ExchangeTrack {
 public:
  ExchangeTrack(std::uint32_t generation, TimelineSink& sink) : sink_(sink), generation_(generation) {}

  void take(const Event& event);
  void end();

 private:
  using Key = std::pair<std::uint32_t, std::uint32_t>;  // object, bucket or chunk

  void end_bucket(const Key& key, TimePoint now, std::uint64_t bytes, std::string_view how = {});
  void end_push(const Key& key, TimePoint now, std::string_view how = {});
  void end_pull(const Event& received);
  void drop_pull(const Key& key, TimePoint now, std::string_view how);
  /// Whatever is under way ends now.
  void end_all(TimePoint now, std::string_view how);

  TimelineSink& sink_;
  std::uint32_t generation_;
  TimePoint last_{};
  OpenSlices<Key> buckets_, pushes_, pulls_;
};

}  // namespace tutti
