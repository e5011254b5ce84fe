// SPDX-License-Identifier: Apache-2.0
#include "common/metrics.h"

#include <algorithm>

namespace tutti {

void MetricsCounter::record(const Event& event) noexcept {
  const std::lock_guard lock(mutex_);
  metrics_.step = std::max(metrics_.step, event.step);
  metrics_.generation = std::max(metrics_.generation, event.generation);
  switch (event.kind) {
    case EventKind::kIterationEnd:
      ++metrics_.iterations;
      break;
    case EventKind::kExchangeDone:
      ++metrics_.exchanges;
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
      wait_began_ = event.time;
      break;
    case EventKind::kWaitEnd:
      metrics_.waited += event.time - wait_began_;
      break;
    case EventKind::kCheckpointBegin:
      stall_began_ = event.time;
      break;
    case EventKind::kCheckpointTaken:
      metrics_.stalled += event.time - stall_began_;
      break;
    case EventKind::kCheckpointFailed:
      ++metrics_.checkpoints_failed;
      break;
    case EventKind::kCheckpointEnd:
      ++metrics_.checkpoints;
      break;
    case EventKind::kMemberLost:
      ++metrics_.members_lost;
      break;
    case EventKind::kFrameRefused:
      ++metrics_.frames_refused;
      break;
    case EventKind::kIterationBegin:
    case EventKind::kBackwardFirstHook:
    case EventKind::kBackwardLastHook:
    case EventKind::kBucketReady:
    case EventKind::kMemberJoined:
    case EventKind::kMemberLeft:
    case EventKind::kGenerationChanged:
    case EventKind::kBucketStarted:
    case EventKind::kRequestBegin:
    case EventKind::kRequestEnd:
    case EventKind::kRunEnded:
      break;
  }
}

Metrics MetricsCounter::snapshot() const {
  const std::lock_guard lock(mutex_);
  return metrics_;
}

}  // namespace tutti
