// SPDX-License-Identifier: Apache-2.0
// The closed list of what can be observed in a run. Log, metrics, trace and recorder are all fed from these and from
// nothing else.
// Thread safety: an Event is a value; an EventSink says of itself which threads may call it.
#pragma once

#include <cstdint>
#include <mutex>
#include <string_view>
#include <vector>

#include "common/clock.h"

namespace tutti {

enum class EventKind : std::uint8_t {
  kIterationBegin,
  kIterationEnd,  // one iteration of batches()
  kBackwardFirstHook,
  kBackwardLastHook,  // the first and the last gradient of a backward
  kBucketReady,
  kBucketDone,  // a bucket is full; its result is in place
  kChunkSent,
  kChunkReceived,  // the last byte of a chunk was given to, taken from, the socket
  kChunkSummed,    // a shard has a chunk's sum
  kWaitBegin,
  kWaitEnd,       // the training thread waits for the exchange; a wait that fails has no end
  kExchangeDone,  // all buckets of an exchange are in place
  kCheckpointBegin,
  kCheckpointTaken,   // the training thread stops for a checkpoint; it has copied what is to be written and goes on
  kCheckpointEnd,     // it is on the disk
  kCheckpointFailed,  // it could not be written, or was left out because the one before still is
  kMemberJoined,
  kMemberLeft,
  kMemberLost,  // membership
  kGenerationChanged,
  kFrameRefused,
  // Recordings keep these numbers: what is new goes to the end.
  kBucketStarted,  // the exchange has begun on it
  kRequestBegin,
  kRequestEnd,   // a question to the coordinator; `bucket` is its FrameType; one that fails has no end
  kRunEnded,     // this process was told that the run is over
  kStepSkipped,  // a step was left out on all ranks
  kStepDone,  // an optimizer step is over, with what it takes until the next; `bytes`: samples of this rank, 0: unknown
  // For timelines only (trace/): the flight recorder's ring leaves them out.
  kPushStarted,     // a chunk was handed to its connection
  kResultArriving,  // its result's header was read
  kPushArrived,     // a shard has `rank`'s chunk
  kClockOffset,     // `bytes`: the coordinator's clock minus this host's, in ns; `step`: the round trip, in ns
};
constexpr EventKind last_enumerator(EventKind) noexcept {
  return EventKind::kClockOffset;
}
constexpr bool is_for_timelines(EventKind kind) noexcept {
  return kind >= EventKind::kPushStarted && kind <= EventKind::kClockOffset;
}
std::string_view name_of(EventKind kind) noexcept;

struct Event {
  TimePoint time{};
  EventKind kind{};
  std::int32_t rank = -1;  ///< whom it is about
  std::uint32_t generation = 0;
  std::uint64_t step = 0;
  std::uint32_t object = 0;    ///< which DataParallel; of membership the Role
  std::uint32_t bucket = 0;    ///< or chunk
  std::uint64_t bytes = 0;     ///< of kMemberLost the wait status, as waitpid gave it
  std::uint16_t exchange = 0;  ///< which of its step; of chunks
};

class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void record(const Event& event) noexcept = 0;
};

class NullEventSink final : public EventSink {
 public:
  void record(const Event&) noexcept override {}
};

/// Hands every event on. Thread safety: any thread, once every sink was added. A sink outlives its use here.
class EventTee final : public EventSink {
 public:
  void add(EventSink& sink) { sinks_.push_back(&sink); }
  void record(const Event& event) noexcept override {
    for (EventSink* sink : sinks_) sink->record(event);
  }

 private:
  std::vector<EventSink*> sinks_;
};

/// Keeps the last `capacity` events. Thread safety: any thread.
class EventBuffer final : public EventSink {
 public:
  explicit EventBuffer(std::size_t capacity);
  void record(const Event& event) noexcept override;
  /// In the order they were recorded; the oldest are gone once there were more than the capacity.
  std::vector<Event> events() const;

 private:
  const std::size_t capacity_;
  mutable std::mutex mutex_;
  std::vector<Event> ring_;   // guarded by mutex_
  std::size_t recorded_ = 0;  // guarded by mutex_
};

}  // namespace tutti
