// SPDX-License-Identifier: Apache-2.0
#include "common/metrics.h"

#include <gtest/gtest.h>

namespace tutti {
namespace {

using namespace std::chrono_literals;

Event event_of(EventKind kind, Duration at = {}, std::uint64_t bytes = 0) {
  Event event;
  event.kind = kind;
  event.time = TimePoint(at);
  event.bytes = bytes;
  return event;
}

TEST(MetricsCounter, CountsEventsAndTheirBytes) {
  MetricsCounter counter;
  counter.record(event_of(EventKind::kChunkSent, {}, 100));
  counter.record(event_of(EventKind::kChunkSent, {}, 20));
  counter.record(event_of(EventKind::kChunkReceived, {}, 7));
  counter.record(event_of(EventKind::kExchangeDone));
  const Metrics metrics = counter.snapshot();
  EXPECT_EQ(metrics.chunks_sent, 2u);
  EXPECT_EQ(metrics.bytes_sent, 120u);
  EXPECT_EQ(metrics.bytes_received, 7u);
  EXPECT_EQ(metrics.exchanges, 1u);
  EXPECT_EQ(metrics.iterations, 0u);
}

TEST(MetricsCounter, AddsUpTheTimeWaited) {
  MetricsCounter counter;
  counter.record(event_of(EventKind::kWaitBegin, 10ms));
  counter.record(event_of(EventKind::kWaitEnd, 13ms));
  counter.record(event_of(EventKind::kWaitBegin, 20ms));
  counter.record(event_of(EventKind::kWaitEnd, 22ms));
  EXPECT_EQ(counter.snapshot().waited, 5ms);
}

TEST(MetricsCounter, TakesAWaitThatIsTakenUpAgainForOne) {
  MetricsCounter counter;
  counter.record(event_of(EventKind::kIterationBegin, 5ms));
  counter.record(event_of(EventKind::kWaitBegin, 10ms));  // ends by a loss
  counter.record(event_of(EventKind::kWaitBegin, 30ms));
  counter.record(event_of(EventKind::kWaitEnd, 35ms));
  EXPECT_EQ(counter.snapshot().waited, 25ms);
  counter.record(event_of(EventKind::kWaitBegin, 40ms));  // never ends
  counter.record(event_of(EventKind::kIterationBegin, 50ms));
  counter.record(event_of(EventKind::kWaitBegin, 60ms));
  counter.record(event_of(EventKind::kWaitEnd, 61ms));
  EXPECT_EQ(counter.snapshot().waited, 26ms);
}

TEST(MetricsCounter, PartsTheTimeBetweenIterations) {
  MetricsCounter counter;
  counter.record(event_of(EventKind::kIterationBegin, 100ms));
  counter.record(event_of(EventKind::kIterationEnd, 110ms));
  counter.record(event_of(EventKind::kCheckpointBegin, 112ms));
  counter.record(event_of(EventKind::kCheckpointTaken, 115ms));
  counter.record(event_of(EventKind::kIterationBegin, 120ms));
  counter.record(event_of(EventKind::kIterationEnd, 130ms));
  EXPECT_EQ(counter.snapshot().between, 7ms);
  EXPECT_EQ(counter.snapshot().stalled, 3ms);
  EXPECT_EQ(counter.snapshot().trained, 30ms);
  counter.record(event_of(EventKind::kCheckpointBegin, 131ms));
  counter.record(event_of(EventKind::kCheckpointTaken, 140ms));
  EXPECT_EQ(counter.snapshot().trained, 40ms) << "the last checkpoint is a part of it";
}

TEST(MetricsCounter, CountsFaults) {
  MetricsCounter counter;
  counter.record(event_of(EventKind::kMemberJoined));
  counter.record(event_of(EventKind::kStepSkipped));
  EXPECT_EQ(counter.snapshot().members_joined, 1u);
  EXPECT_EQ(counter.snapshot().steps_skipped, 1u);
}

TEST(MetricsCounter, ShowsTheLatestStepAndGeneration) {
  MetricsCounter counter;
  Event event = event_of(EventKind::kIterationEnd);
  event.step = 12;
  event.generation = 3;
  counter.record(event);
  event.step = 11;  // a chunk of the step before may be told late
  counter.record(event);
  EXPECT_EQ(counter.snapshot().step, 12u);
  EXPECT_EQ(counter.snapshot().generation, 3u);
}

}  // namespace
}  // namespace tutti
