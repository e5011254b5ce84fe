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

Event step_done(std::uint64_t step, Duration at, std::uint64_t samples = 0) {
  Event event = event_of(EventKind::kStepDone, at, samples);
  event.step = step;
  return event;
}

TEST(MetricsCounter, MeasuresStepsFromTheEndOfOneToTheEndOfTheNext) {
  MetricsCounter counter;
  counter.record(step_done(40, 5s, 32));
  EXPECT_EQ(counter.snapshot().step_time.count(), 0u) << "nobody saw the first one begin";
  EXPECT_EQ(counter.snapshot().steps_through, 41u);
  counter.record(step_done(41, 5s + 3ms, 32));
  counter.record(step_done(42, 5s + 10ms, 16));
  const Metrics metrics = counter.snapshot();
  EXPECT_EQ(metrics.steps, 3u);
  EXPECT_EQ(metrics.samples, 80u);
  EXPECT_EQ(metrics.steps_through, 43u);
  EXPECT_EQ(metrics.step_time.count(), 2u);
  EXPECT_EQ(metrics.step_time.sum, 10ms);
}

TEST(MetricsCounter, MeasuresExchangesFromTheFirstBucketOnItsWay) {
  MetricsCounter counter;
  counter.record(event_of(EventKind::kBucketStarted, 10ms));
  counter.record(event_of(EventKind::kBucketStarted, 11ms));
  counter.record(event_of(EventKind::kExchangeDone, 14ms));
  counter.record(event_of(EventKind::kExchangeDone, 20ms));  // of nothing that was started
  EXPECT_EQ(counter.snapshot().exchange_time.count(), 1u);
  EXPECT_EQ(counter.snapshot().exchange_time.sum, 4ms);
  counter.record(event_of(EventKind::kBucketStarted, 30ms));
  counter.record(event_of(EventKind::kIterationBegin, 40ms));  // the exchange was cut off
  counter.record(event_of(EventKind::kBucketStarted, 41ms));
  counter.record(event_of(EventKind::kExchangeDone, 43ms));
  EXPECT_EQ(counter.snapshot().exchange_time.sum, 6ms);
}

TEST(MetricsCounter, MeasuresTheWritingOfEachCheckpoint) {
  MetricsCounter counter;
  const auto save = [&](Duration at) {
    counter.record(event_of(EventKind::kCheckpointBegin, at));
    counter.record(event_of(EventKind::kCheckpointTaken, at + 1ms));
  };
  save(10ms);
  Event end = event_of(EventKind::kCheckpointEnd, 31ms);
  end.step = 100;
  counter.record(end);
  EXPECT_EQ(counter.snapshot().checkpoint_time.sum, 20ms);
  EXPECT_EQ(counter.snapshot().checkpoint_step, 100u);
  save(40ms);
  counter.record(event_of(EventKind::kCheckpointFailed, 45ms));
  save(50ms);
  counter.record(event_of(EventKind::kCheckpointEnd, 81ms));
  EXPECT_EQ(counter.snapshot().checkpoints, 2u);
  EXPECT_EQ(counter.snapshot().checkpoints_failed, 1u);
  EXPECT_EQ(counter.snapshot().checkpoint_time.sum, 50ms) << "what failed took no time";
}

TEST(MetricsCounter, ACheckpointThatIsLeftOutDoesNotShortenTheOneBefore) {
  MetricsCounter counter;
  counter.record(event_of(EventKind::kCheckpointBegin, 10ms));
  counter.record(event_of(EventKind::kCheckpointTaken, 11ms));
  counter.record(event_of(EventKind::kCheckpointBegin, 20ms));
  counter.record(event_of(EventKind::kCheckpointFailed, 25ms));
  counter.record(event_of(EventKind::kCheckpointTaken, 26ms));
  counter.record(event_of(EventKind::kCheckpointEnd, 61ms));
  EXPECT_EQ(counter.snapshot().checkpoint_time.sum, 50ms);
  EXPECT_EQ(counter.snapshot().stalled, 7ms);
}

TEST(MetricsCounter, ShowsThatTheTrainingThreadWaits) {
  MetricsCounter counter;
  EXPECT_FALSE(counter.snapshot().is_waiting);
  counter.record(event_of(EventKind::kWaitBegin));
  EXPECT_TRUE(counter.snapshot().is_waiting);
  counter.record(event_of(EventKind::kChunkReceived));
  EXPECT_TRUE(counter.snapshot().is_waiting);
  counter.record(event_of(EventKind::kWaitEnd));
  EXPECT_FALSE(counter.snapshot().is_waiting);
  counter.record(event_of(EventKind::kWaitBegin));
  counter.record(event_of(EventKind::kIterationBegin));  // a wait that failed has no end
  EXPECT_FALSE(counter.snapshot().is_waiting);
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
