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
