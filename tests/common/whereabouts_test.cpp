// SPDX-License-Identifier: Apache-2.0
#include "common/whereabouts.h"

#include <gtest/gtest.h>

#include "common/net/frame.h"

#include "tests/support/times.h"

namespace tutti {
namespace {

using Doing = Whereabouts::Doing;

Event event(int milliseconds, EventKind kind, std::uint64_t step = 37, std::uint32_t bucket = 0,
            std::uint32_t object = 0) {
  return {.time = at_millisecond(milliseconds), .kind = kind, .step = step, .object = object, .bucket = bucket};
}

Event request(int milliseconds, EventKind kind, FrameType type) {
  return event(milliseconds, kind, 37, static_cast<std::uint32_t>(type));
}

Whereabouts after(std::vector<Event> events) {
  Recording recording;
  recording.events = std::move(events);
  return locate(recording);
}

TEST(Whereabouts, OfAProcessThatRecordedNothingAreUnknown) {
  const Whereabouts place = after({});
  EXPECT_EQ(place.doing, Doing::kNothing);
  EXPECT_EQ(describe(place, at_millisecond(1000)), "");
  EXPECT_EQ(awaited(place), "");
}

TEST(Whereabouts, AreItsLastEventWhereItWaitsForNothing) {
  const Whereabouts place = after({event(0, EventKind::kIterationEnd, 36), event(100, EventKind::kBucketReady, 37, 3)});
  EXPECT_EQ(place.doing, Doing::kWorking);
  EXPECT_EQ(place.step, 36u);
  EXPECT_FALSE(place.done);
  EXPECT_EQ(describe(place, at_millisecond(112)), "0.012 s after bucket_ready 3");
  EXPECT_EQ(awaited(place), "");
}

TEST(Whereabouts, NameTheFirstBucketThatIsMissing) {
  const Whereabouts place =
      after({event(0, EventKind::kBucketStarted, 37, 4), event(1, EventKind::kBucketStarted, 37, 2),
             event(2, EventKind::kBucketStarted, 37, 0, 1), event(3, EventKind::kWaitBegin),
             event(4, EventKind::kBucketDone, 37, 4), event(5, EventKind::kBucketDone, 37, 0, 1)});
  EXPECT_EQ(place.doing, Doing::kWaiting);
  EXPECT_EQ(place.since, at_millisecond(3));
  EXPECT_EQ(place.bucket, 2u);
  EXPECT_EQ(place.done->object, 1u);
  EXPECT_EQ(describe(place, at_millisecond(1207)), "had waited 1.204 s for bucket 2");
}

TEST(Whereabouts, TellWhichModelsBucketIsMissing) {
  const Whereabouts place =
      after({event(0, EventKind::kBucketStarted, 37, 4, 0), event(1, EventKind::kBucketStarted, 37, 5, 1),
             event(2, EventKind::kWaitBegin, 37, 0, 1)});
  EXPECT_EQ(awaited(place), "bucket 5 of model 1");
}

TEST(Whereabouts, ForgetTheBucketsOfAnExchangeThatIsDone) {
  const Whereabouts place = after({event(0, EventKind::kBucketStarted, 36, 4), event(1, EventKind::kExchangeDone, 36),
                                   event(2, EventKind::kWaitBegin)});
  EXPECT_FALSE(place.bucket);
  EXPECT_EQ(awaited(place), "its exchange");
}

TEST(Whereabouts, AreNoWaitThatHasEnded) {
  const Whereabouts place =
      after({event(0, EventKind::kWaitBegin), event(1, EventKind::kWaitEnd), event(2, EventKind::kCheckpointBegin),
             event(3, EventKind::kCheckpointTaken), request(4, EventKind::kRequestBegin, FrameType::kLeave),
             request(5, EventKind::kRequestEnd, FrameType::kLeave)});
  EXPECT_EQ(place.doing, Doing::kWorking);
}

TEST(Whereabouts, AreNoWaitThatFailedWhereTheProgramWentOn) {
  EXPECT_EQ(after({event(0, EventKind::kWaitBegin)}).doing, Doing::kWaiting);
  EXPECT_EQ(after({event(0, EventKind::kWaitBegin), request(1, EventKind::kRequestBegin, FrameType::kContribute),
                   event(2, EventKind::kIterationBegin)})
                .doing,
            Doing::kWorking);
}

TEST(Whereabouts, TellACheckpointAndTheQuestionWithinIt) {
  EXPECT_EQ(describe(after({event(0, EventKind::kCheckpointBegin)}), at_millisecond(2100)),
            "had been saving a checkpoint for 2.100 s");
  const Whereabouts place =
      after({event(0, EventKind::kCheckpointBegin), request(100, EventKind::kRequestBegin, FrameType::kContribute)});
  EXPECT_EQ(describe(place, at_millisecond(2100)), "had waited 2.000 s for all ranks");
}

TEST(Whereabouts, NameWhatTheCoordinatorWasAskedFor) {
  EXPECT_EQ(awaited(after({request(0, EventKind::kRequestBegin, FrameType::kStoreRequest)})),
            "a key of the run's store");
  EXPECT_EQ(awaited(after({request(0, EventKind::kRequestBegin, FrameType::kLeave)})), "everybody's goodbye");
  EXPECT_EQ(awaited(after({request(0, EventKind::kRequestBegin, FrameType::kJoin)})), "the coordinator");
}

TEST(Whereabouts, LeaveOutWhatFollowsFromTheEndOfTheRun) {
  const Whereabouts place = after({event(0, EventKind::kWaitBegin), event(10, EventKind::kRunEnded),
                                   event(11, EventKind::kWaitEnd), event(12, EventKind::kFrameRefused)});
  EXPECT_EQ(place.doing, Doing::kWaiting);
  EXPECT_EQ(place.last.kind, EventKind::kWaitBegin);
  EXPECT_EQ(place.told_of_end, at_millisecond(10));
}

TEST(DescribeEvent, TellsTheNumberThatMatters) {
  EXPECT_EQ(describe(event(0, EventKind::kIterationBegin, 37, 3)), "iteration_begin 37");
  EXPECT_EQ(describe(event(0, EventKind::kChunkSummed, 37, 3)), "chunk_summed 3");
  EXPECT_EQ(describe(event(0, EventKind::kRunEnded)), "run_ended");
  Event lost = event(0, EventKind::kMemberLost);
  lost.rank = 2;
  lost.object = static_cast<std::uint32_t>(Role::kServer);
  EXPECT_EQ(describe(lost), "member_lost shard 2");
  Event changed = event(0, EventKind::kGenerationChanged);
  changed.generation = 4;
  EXPECT_EQ(describe(changed), "generation_changed 4");
}

}  // namespace
}  // namespace tutti
