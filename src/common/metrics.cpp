// SPDX-License-Identifier: Apache-2.0
#include "common/metrics.h"

#include <algorithm>

namespace tutti {

void MetricsCounter::record(const Event& event) noexcept {
  const std::lock_guard lock(mutex_);
  metrics_.step = std::max(metrics_.step, event.step);
  metrics_.generation = std::max(metrics_.generation, event.generation);
  if (event.kind == EventKind::kWaitBegin) metrics_.is_waiting = true;
  if (event.kind == EventKind::kWaitEnd || event.kind == EventKind::kIterationBegin) metrics_.is_waiting = false;
  switch (event.kind) {
    case EventKind::kIterationBegin:
      begin_iteration(event.time);
      break;
    case EventKind::kIterationEnd:
      end_iteration(event.time);
      break;
    case EventKind::kBucketStarted:
      if (!exchange_began_) exchange_began_ = event.time;
      break;
    case EventKind::kExchangeDone:
      ++metrics_.exchanges;
      if (exchange_began_) metrics_.exchange_time.add(event.time - *exchange_began_);
      exchange_began_.reset();
      break;
    case EventKind::kStepDone:
      // The first one warms up, and ends no step that was seen to begin.
      if (step_ended_) metrics_.step_time.add(event.time - *step_ended_);
      step_ended_ = event.time;
      ++metrics_.steps;
      metrics_.steps_through = event.step + 1;
      metrics_.waited_through = metrics_.waited;
      metrics_.samples += event.bytes;
      break;
    case EventKind::kBucketDone:
      ++metrics_.buckets;
      break;
    case EventKind::kChunkSent:
      ++metrics_.chunks_sent;
      metrics_.bytes_sent += event.bytes;
      break;
    case EventKind::kChunkReceived:
      ++metrics_.chunks_received;
      metrics_.bytes_received += event.bytes;
      break;
    case EventKind::kChunkSummed:
      ++metrics_.chunks_summed;
      break;
    case EventKind::kWaitBegin:
      // A wait that ended because somebody was lost is taken up again: what lies between is waited, too.
      if (!wait_began_) wait_began_ = event.time;
      break;
    case EventKind::kWaitEnd:
      if (wait_began_) metrics_.waited += event.time - *wait_began_;
      wait_began_.reset();
      break;
    case EventKind::kCheckpointBegin:
      stall_began_ = event.time;
      is_stalled_ = true;
      break;
    case EventKind::kCheckpointTaken:
      metrics_.stalled += event.time - stall_began_;
      is_stalled_ = false;
      if (!write_began_) write_began_ = event.time;
      if (first_iteration_) metrics_.trained = event.time - *first_iteration_;
      break;
    case EventKind::kCheckpointFailed:
      ++metrics_.checkpoints_failed;
      if (!is_stalled_) write_began_.reset();  // else one is left out, and the one before still is being written
      break;
    case EventKind::kCheckpointEnd:
      ++metrics_.checkpoints;
      metrics_.checkpoint_step = event.step;
      if (write_began_) metrics_.checkpoint_time.add(event.time - *write_began_);
      write_began_.reset();
      break;
    case EventKind::kMemberLost:
      ++metrics_.members_lost;
      break;
    case EventKind::kMemberJoined:
      ++metrics_.members_joined;
      break;
    case EventKind::kStepSkipped:
      ++metrics_.steps_skipped;
      break;
    case EventKind::kFrameRefused:
      ++metrics_.frames_refused;
      break;
    case EventKind::kBackwardFirstHook:
    case EventKind::kBackwardLastHook:
    case EventKind::kBucketReady:
    case EventKind::kMemberLeft:
    case EventKind::kGenerationChanged:
    case EventKind::kRequestBegin:
    case EventKind::kRequestEnd:
    case EventKind::kRunEnded:
    case EventKind::kPushStarted:
    case EventKind::kResultArriving:
    case EventKind::kPushArrived:
    case EventKind::kClockOffset:
      break;
  }
}

void MetricsCounter::begin_iteration(TimePoint now) noexcept {
  wait_began_.reset();
  exchange_began_.reset();  // one that was cut off counts for none
  if (!first_iteration_)
    first_iteration_ = now;
  else
    metrics_.between += now - iteration_ended_ - (metrics_.stalled - stalled_before_);
}

void MetricsCounter::end_iteration(TimePoint now) noexcept {
  ++metrics_.iterations;
  iteration_ended_ = now;
  stalled_before_ = metrics_.stalled;
  if (first_iteration_) metrics_.trained = now - *first_iteration_;
}

Metrics MetricsCounter::snapshot() const {
  const std::lock_guard lock(mutex_);
  return metrics_;
}

}  // namespace tutti
