// SPDX-License-Identifier: Apache-2.0
#include "common/event.h"

#include "common/assert.h"

namespace tutti {

std::string_view name_of(EventKind kind) noexcept {
  switch (kind) {
    case EventKind::kIterationBegin:
      return "iteration_begin";
    case EventKind::kIterationEnd:
      return "iteration_end";
    case EventKind::kBackwardFirstHook:
      return "backward_first_hook";
    case EventKind::kBackwardLastHook:
      return "backward_last_hook";
    case EventKind::kBucketReady:
      return "bucket_ready";
    case EventKind::kBucketDone:
      return "bucket_done";
    case EventKind::kChunkSent:
      return "chunk_sent";
    case EventKind::kChunkReceived:
      return "chunk_received";
    case EventKind::kChunkSummed:
      return "chunk_summed";
    case EventKind::kWaitBegin:
      return "wait_begin";
    case EventKind::kWaitEnd:
      return "wait_end";
    case EventKind::kExchangeDone:
      return "exchange_done";
    case EventKind::kCheckpointBegin:
      return "checkpoint_begin";
    case EventKind::kCheckpointTaken:
      return "checkpoint_taken";
    case EventKind::kCheckpointEnd:
      return "checkpoint_end";
    case EventKind::kCheckpointFailed:
      return "checkpoint_failed";
    case EventKind::kMemberJoined:
      return "member_joined";
    case EventKind::kMemberLeft:
      return "member_left";
    case EventKind::kMemberLost:
      return "member_lost";
    case EventKind::kGenerationChanged:
      return "generation_changed";
    case EventKind::kFrameRefused:
      return "frame_refused";
    case EventKind::kBucketStarted:
      return "bucket_started";
    case EventKind::kRequestBegin:
      return "request_begin";
    case EventKind::kRequestEnd:
      return "request_end";
    case EventKind::kRunEnded:
      return "run_ended";
    case EventKind::kStepSkipped:
      return "step_skipped";
    case EventKind::kStepDone:
      return "step_done";
    case EventKind::kPushStarted:
      return "push_started";
    case EventKind::kResultArriving:
      return "result_arriving";
    case EventKind::kPushArrived:
      return "push_arrived";
    case EventKind::kClockOffset:
      return "clock_offset";
  }
  return "unknown";
}

EventBuffer::EventBuffer(std::size_t capacity) : capacity_(capacity) {
  TUTTI_ASSERT(capacity > 0, "an event buffer holds at least one event");
  ring_.resize(capacity);  // here, so that record() never allocates
}

void EventBuffer::record(const Event& event) noexcept {
  const std::lock_guard lock(mutex_);
  ring_[recorded_++ % capacity_] = event;
}

std::vector<Event> EventBuffer::events() const {
  const std::lock_guard lock(mutex_);
  std::vector<Event> events;
  const std::size_t oldest = recorded_ > capacity_ ? recorded_ - capacity_ : 0;
  events.reserve(recorded_ - oldest);
  for (std::size_t i = oldest; i < recorded_; ++i) events.push_back(ring_[i % capacity_]);
  return events;
}

}  // namespace tutti
