// SPDX-License-Identifier: Apache-2.0
#include "ps/client_fsm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/bounded_archive.h"

namespace tutti::ps {
namespace {

using testing::HasSubstr;

constexpr std::uint32_t kClientGeneration = 2;

/// Three buckets over two shards: eight chunks of 64 bytes, an empty bucket, one broadcast of 10 bytes.
ObjectTable table_of() {
  return {4,
          0,
          3,
          2,
          64,
          {{DType::kFloat32, Reduction::kAverage, 128},
           {DType::kFloat32, Reduction::kAverage, 0},
           {DType::kInt8, Reduction::kBroadcast, 10}}};
}

class ClientOfRankOne : public testing::Test {
 protected:
  void open(int window = 2) {
    for (int shard = 0; shard < 2; ++shard) ASSERT_TRUE(machine_.opened(shard, {0, window, 0, {}}));
  }
  FrameHeader result_of(const ClientPush& push) {
    FrameHeader header = push.header;
    header.type = FrameType::kResult;
    header.sender = static_cast<std::uint16_t>(push.shard);
    header.payload_bytes = machine_.chunk(header.chunk).bytes;
    return header;
  }
  std::string refusal(int shard, const FrameHeader& header) {
    const auto place = machine_.place(shard, header);
    if (place) return "accepted";
    EXPECT_EQ(place.error().code, Errc::kProtocol);
    return place.error().text();
  }

  std::vector<std::byte> averaged_ = std::vector<std::byte>(512);
  std::vector<std::byte> broadcast_ = std::vector<std::byte>(10);
  ClientFsm machine_{table_of(), {averaged_.data(), nullptr, broadcast_.data()}, 1, kClientGeneration};
};

TEST_F(ClientOfRankOne, IsOpenWhenEveryShardHasAgreed) {
  EXPECT_EQ(machine_.first_not_open(), 0);
  ASSERT_TRUE(machine_.opened(0, {0, 2, 0, {}}));
  EXPECT_FALSE(machine_.is_open());
  EXPECT_EQ(machine_.first_not_open(), 1);
  ASSERT_TRUE(machine_.opened(1, {0, 2, 0, {}}));
  EXPECT_TRUE(machine_.is_open());
}

TEST_F(ClientOfRankOne, TakesAShardsRefusalForItsOwnFailure) {
  const auto opened = machine_.opened(0, {0, 0, static_cast<std::int32_t>(Errc::kMismatch), "bucket 3 differs"});
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::kMismatch);
  EXPECT_EQ(opened.error().text(), "bucket 3 differs");
}

TEST_F(ClientOfRankOne, RefusesAWindowOfNothing) {
  EXPECT_EQ(machine_.opened(0, {0, 0, 0, {}}).error().code, Errc::kProtocol);
}

TEST_F(ClientOfRankOne, IgnoresTheAnswerToAnEarlierPlan) {
  ASSERT_TRUE(machine_.opened(0, {7, 2, 0, {}}));
  EXPECT_EQ(machine_.first_not_open(), 0);
}

TEST_F(ClientOfRankOne, PushesAsManyChunksToEachShardAsItsWindowAllows) {
  open(2);
  const auto step = machine_.start({9, 1}, 0);
  ASSERT_TRUE(step);
  ASSERT_EQ(step->pushes.size(), 4u);
  int to_first = 0;
  for (const ClientPush& push : step->pushes) {
    to_first += push.shard == 0;
    EXPECT_EQ(push.header.type, FrameType::kPush);
    EXPECT_EQ(push.header.generation, kClientGeneration);
    EXPECT_EQ(push.header.step, 9u);
    EXPECT_EQ(push.header.exchange, 1u);
    EXPECT_EQ(push.header.object, 4u);
    EXPECT_EQ(push.header.sender, 1u);
    EXPECT_EQ(push.payload.data(), averaged_.data() + machine_.chunk(push.header.chunk).offset_bytes);
    EXPECT_EQ(push.payload.size(), 64u);
  }
  EXPECT_EQ(to_first, 2);
}

TEST_F(ClientOfRankOne, PushesTheNextChunkOfAShardForEachOfItsResults) {
  open(1);
  const auto started = machine_.start({1, 0}, 0);
  ASSERT_EQ(started->pushes.size(), 2u);
  const auto step = machine_.result(started->pushes[0].shard, result_of(started->pushes[0]));
  ASSERT_TRUE(step);
  ASSERT_EQ(step->pushes.size(), 1u);
  EXPECT_EQ(step->pushes[0].shard, started->pushes[0].shard);
  EXPECT_FALSE(step->bucket_done);
}

TEST_F(ClientOfRankOne, PutsAResultWhereItsInputWas) {
  open();
  const auto started = machine_.start({1, 0}, 0);
  const ClientPush& push = started->pushes[1];
  const auto place = machine_.place(push.shard, result_of(push));
  ASSERT_TRUE(place);
  EXPECT_EQ(place->data(), push.payload.data());
  EXPECT_EQ(place->size(), push.payload.size());
}

TEST_F(ClientOfRankOne, IsFinishedWithTheLastResult) {
  open(8);
  const auto started = machine_.start({1, 0}, 0);
  ASSERT_EQ(started->pushes.size(), 8u);
  for (std::size_t i = 0; i < 8; ++i) {
    EXPECT_FALSE(machine_.finished());
    const auto step = machine_.result(started->pushes[i].shard, result_of(started->pushes[i]));
    EXPECT_EQ(step->bucket_done.has_value(), i == 7);
  }
  EXPECT_TRUE(machine_.finished());
}

TEST_F(ClientOfRankOne, KeepsWhatOfTheRoundsResultsIsNotFinite) {
  open(8);
  auto started = machine_.start({1, 0}, 0);
  const FrameHeader second = result_of(started->pushes[1]);
  const std::uint64_t before = machine_.chunk(second.chunk).offset_bytes / sizeof(float);
  ASSERT_TRUE(machine_.result(started->pushes[1].shard, second, {{2, 3}, {0, 5}}));
  using Elements = std::vector<NotFiniteResultElement>;
  EXPECT_EQ(machine_.not_finite(), (Elements{{0, before + 3, 2}, {0, before + 5, 0}}));
  const int shard = started->pushes[0].shard;
  const FrameHeader first = result_of(started->pushes[0]);
  for (const NotFiniteElement& wrong : std::vector<NotFiniteElement>{{3, 0}, {-2, 0}, {0, 16}})
    EXPECT_EQ(machine_.result(shard, first, {wrong}).error().code, Errc::kProtocol);
  for (std::size_t i = 0; i < 8; ++i) {
    if (i == 1) continue;
    ASSERT_TRUE(machine_.result(started->pushes[i].shard, result_of(started->pushes[i])));
  }
  ASSERT_TRUE(machine_.start({2, 0}, 0));
  EXPECT_TRUE(machine_.not_finite().empty());
}

TEST_F(ClientOfRankOne, IsDoneWithAnEmptyBucketAtOnce) {
  open();
  const auto step = machine_.start({1, 0}, 1);
  EXPECT_TRUE(step->pushes.empty());
  EXPECT_EQ(step->bucket_done, 1u);
  EXPECT_TRUE(machine_.finished());
}

TEST_F(ClientOfRankOne, AsksForABroadcastWithoutBytesAndReceivesAllOfThem) {
  open();
  const auto started = machine_.start({1, 0}, 2);
  ASSERT_EQ(started->pushes.size(), 1u);
  EXPECT_TRUE(started->pushes[0].payload.empty());
  EXPECT_EQ(machine_.place(started->pushes[0].shard, result_of(started->pushes[0]))->size(), 10u);
}

TEST(ClientOfRankZero, PushesTheBytesOfABroadcast) {
  std::vector<std::byte> bytes(10);
  ClientFsm root({0, 0, 2, 1, 64, {{DType::kInt8, Reduction::kBroadcast, 10}}}, {bytes.data()}, 0, 1);
  ASSERT_TRUE(root.opened(0, {0, 1, 0, {}}));
  EXPECT_EQ(root.start({1, 0}, 0)->pushes[0].payload.size(), 10u);
}

TEST_F(ClientOfRankOne, RefusesResultsThatItDoesNotAwait) {
  open(1);
  const auto started = machine_.start({5, 0}, 0);
  const ClientPush& push = started->pushes[0];
  const FrameHeader good = result_of(push);
  const auto with = [&](auto change) {
    FrameHeader header = good;
    change(header);
    return refusal(push.shard, header);
  };
  EXPECT_THAT(with([](auto& header) { header.chunk = 99; }), HasSubstr("there are 9 chunks"));
  EXPECT_THAT(with([](auto& header) { header.generation = 1; }), HasSubstr("of generation 1, this is 2"));
  EXPECT_THAT(with([](auto& header) { header.step = 4; }), HasSubstr("step 4: this is step 5"));
  EXPECT_THAT(with([](auto& header) { header.exchange = 1; }), HasSubstr("this is step 5"));
  EXPECT_THAT(with([](auto& header) { header.payload_bytes = 65; }), HasSubstr("65 bytes, expected 64"));
  EXPECT_THAT(with([](auto& header) { header.sender ^= 1; }), HasSubstr("another shard"));
  EXPECT_THAT(refusal(1 - push.shard, good), HasSubstr("another shard"));
}

TEST_F(ClientOfRankOne, RefusesTheResultOfAChunkItHasNotPushed) {
  open(1);
  const auto started = machine_.start({5, 0}, 0);
  const auto next = machine_.result(started->pushes[0].shard, result_of(started->pushes[0]));
  EXPECT_THAT(refusal(started->pushes[0].shard, result_of(started->pushes[0])), HasSubstr("none is awaited"));
  FrameHeader queued = result_of(next->pushes[0]);
  ASSERT_TRUE(machine_.result(next->pushes[0].shard, queued));
  EXPECT_FALSE(machine_.result(next->pushes[0].shard, queued));
}

TEST_F(ClientOfRankOne, StartsBucketsInTheirOrderOnly) {
  open(8);
  ASSERT_TRUE(machine_.start({1, 0}, 2));
  EXPECT_EQ(machine_.start({1, 0}, 2).error().code, Errc::kUsage);
  EXPECT_EQ(machine_.start({1, 0}, 0).error().code, Errc::kUsage);
  EXPECT_EQ(machine_.start({1, 0}, 3).error().code, Errc::kUsage);
  EXPECT_EQ(machine_.start({0, 0}, 2).error().code, Errc::kUsage);
}

TEST_F(ClientOfRankOne, StartsARoundWhenTheOneBeforeItIsFinished) {
  open(8);
  const auto started = machine_.start({1, 0}, 2);
  EXPECT_EQ(machine_.start({1, 1}, 2).error().text(), "step 1 (exchange 1) was started before step 1 was finished");
  ASSERT_TRUE(machine_.result(started->pushes[0].shard, result_of(started->pushes[0])));
  EXPECT_TRUE(machine_.start({1, 1}, 2));
}

TEST_F(ClientOfRankOne, NamesTheFirstChunkItWaitsFor) {
  open(2);
  EXPECT_FALSE(machine_.waits_for());
  const auto started = machine_.start({1, 0}, 0);
  EXPECT_EQ(machine_.waits_for()->chunk, 0u);
  const ClientPush& first = started->pushes[0];
  ASSERT_TRUE(machine_.result(first.shard, result_of(first)));
  EXPECT_EQ(machine_.waits_for()->chunk, 1u);
  EXPECT_EQ(machine_.waits_for(first.shard)->chunk, 2u);
  EXPECT_EQ(machine_.waits_for(first.shard)->bucket, 0u);
}

TEST_F(ClientOfRankOne, RefusesAShardThatReadsMemoryWhichIsNotShared) {
  EXPECT_EQ(machine_.opened(0, {0, 2, 0, {}, true}).error().code, Errc::kProtocol);
}

TEST_F(ClientOfRankOne, SendsNoBytesToAShardThatReadsItsBuckets) {
  ClientFsm placed(table_of(), {averaged_.data(), nullptr, broadcast_.data()}, 1, kClientGeneration,
                   {.is_shared = true});
  ASSERT_TRUE(placed.opened(0, {0, 8, 0, {}, true}) && placed.opened(1, {0, 8, 0, {}, false}));
  const auto started = placed.start({1, 0}, 0);
  ASSERT_EQ(started->pushes.size(), 8u);
  for (const ClientPush& push : started->pushes) {
    const bool in_place = push.shard == 0;
    EXPECT_EQ(push.payload.size(), in_place ? 0u : 64u);
    FrameHeader result = result_of(push);
    EXPECT_EQ(placed.place(push.shard, result).has_value(), !in_place) << "a payload for a bucket that is shared";
    if (in_place) result.payload_bytes = 0;
    EXPECT_TRUE(placed.result(push.shard, result));
  }
  EXPECT_TRUE(placed.finished());
}

TEST_F(ClientOfRankOne, HasAWindowForEachConnection) {
  ObjectTable table = table_of();
  table.connections = 2;
  ClientFsm machine(table, {averaged_.data(), nullptr, broadcast_.data()}, 1, kClientGeneration);
  ASSERT_TRUE(machine.opened(0, {0, 1, 0, {}}) && machine.opened(1, {0, 1, 0, {}}));
  const auto started = machine.start({1, 0}, 0);
  ASSERT_EQ(started->pushes.size(), 4u);
  const ClientPush& push = started->pushes[3];
  const auto step = machine.result(push.shard, result_of(push));
  ASSERT_EQ(step->pushes.size(), 1u);
  EXPECT_EQ(step->pushes[0].shard, push.shard);
  EXPECT_EQ(step->pushes[0].connection, push.connection);
}

class ClientThatOutlivesLosses : public ClientOfRankOne {
 protected:
  ClientFsm next_machine() {
    return ClientFsm(table_of(), {averaged_.data(), nullptr, broadcast_.data()}, 1, kClientGeneration + 1,
                     {.keeps_inputs = true});
  }
  ClientFsm keeping_{next_machine()};
};

TEST_F(ClientThatOutlivesLosses, KeepsTheInputUntilTheResultIsWhole) {
  for (int shard = 0; shard < 2; ++shard) ASSERT_TRUE(keeping_.opened(shard, {0, 8, 0, {}}));
  averaged_.assign(512, std::byte{1});
  const auto started = keeping_.start({1, 0}, 0);
  const ClientPush& push = started->pushes[0];
  const auto place = keeping_.place(push.shard, result_of(push));
  ASSERT_TRUE(place);
  std::fill(place->begin(), place->end(), std::byte{9});
  EXPECT_EQ(push.payload.front(), std::byte{1});
  ASSERT_TRUE(keeping_.result(push.shard, result_of(push)));
  EXPECT_EQ(push.payload.front(), std::byte{9});
  EXPECT_EQ(push.payload.back(), std::byte{9});
}

TEST_F(ClientThatOutlivesLosses, PushesInputsAndResultsAgainInTheNextGeneration) {
  open(8);
  const auto started = machine_.start({3, 0}, 0);
  ASSERT_TRUE(machine_.start({3, 0}, 1));
  ASSERT_TRUE(machine_.result(started->pushes[5].shard, result_of(started->pushes[5])));
  const std::uint32_t known = started->pushes[5].header.chunk;

  ClientFsm next = next_machine();
  next.take_over(machine_.standing());
  for (int shard = 0; shard < 2; ++shard) ASSERT_TRUE(next.opened(shard, {0, 8, 0, {}}));
  EXPECT_THAT(next.started(), testing::ElementsAre(0u)) << "the second is empty, and done";
  const ClientStep again = next.go_on();
  ASSERT_EQ(again.pushes.size(), 8u);
  EXPECT_FALSE(next.finished());
  std::size_t left = 8;
  for (const ClientPush& push : again.pushes) {
    const bool has_result = push.header.chunk == known;
    EXPECT_EQ(push.header.flags, has_result ? kHasResult : 0);
    EXPECT_EQ(push.header.generation, kClientGeneration + 1);
    EXPECT_EQ(push.header.step, 3u);
    EXPECT_EQ(push.payload.size(), 64u);
    FrameHeader result = result_of(push);
    if (has_result) {
      EXPECT_FALSE(next.place(push.shard, result)) << "it has those bytes";
      result.payload_bytes = 0;
    } else {
      ASSERT_TRUE(next.place(push.shard, result));
    }
    ASSERT_TRUE(next.result(push.shard, result));
    EXPECT_EQ(next.finished(), --left == 0);
  }
  EXPECT_TRUE(next.start({3, 0}, 2)) << "the round goes on where it was";
}

TEST_F(ClientThatOutlivesLosses, SaysWhatOfAChunkIsTheResultAlready) {
  open(8);
  ASSERT_TRUE(machine_.start({3, 0}, 0));
  ASSERT_TRUE(machine_.start({3, 0}, 1));
  ASSERT_TRUE(machine_.start({3, 0}, 2));
  const std::uint32_t of_broadcast = static_cast<std::uint32_t>(machine_.chunk_count()) - 1;
  ClientFsm next = next_machine();
  next.take_over(machine_.standing());
  next.found_result(0, {});
  next.found_result(1, {{0, 16}});
  next.found_result(2, {{0, 32}});
  next.found_result(of_broadcast, {{0, 2}});
  ClientFsm last = next_machine();  // it, too, did not come far
  last.take_over(next.standing());
  last.found_result(1, {{48, 64}});
  last.found_result(2, {{32, 64}});
  for (int shard = 0; shard < 2; ++shard) ASSERT_TRUE(last.opened(shard, {0, 8, 0, {}}));
  std::size_t seen = 0;
  for (const ClientPush& push : last.go_on().pushes) {
    const std::uint32_t chunk = push.header.chunk;
    EXPECT_EQ(push.header.flags, chunk == 1 ? kHasRanges : chunk == 2 ? kHasResult : 0) << chunk;
    EXPECT_EQ(push.control.empty(), chunk != 1);
    EXPECT_EQ(push.payload.size(), chunk == of_broadcast ? 0u : 64u);
    if (chunk != 1) continue;
    const auto told = decode<ResultRanges>(std::as_bytes(std::span(push.control)));
    ASSERT_TRUE(told);
    EXPECT_EQ(told->ranges, (ByteRanges{{0, 16}, {48, 64}}));
    EXPECT_TRUE(last.place(push.shard, result_of(push))) << "it gets all of the result";
    ASSERT_TRUE(last.result(push.shard, result_of(push)));
    ++seen;
  }
  EXPECT_EQ(seen, 1u);
  EXPECT_TRUE(last.standing().result_ranges.empty());
}

TEST_F(ClientThatOutlivesLosses, PushesAgainWhatWasNotAnsweredOnAConnection) {
  open(8);
  const auto started = machine_.start({1, 0}, 0);
  const ClientPush& answered = started->pushes[0];
  ASSERT_TRUE(machine_.result(answered.shard, result_of(answered)));
  const auto again = machine_.push_again(answered.shard, 0);
  std::size_t expected = 0;
  for (const ClientPush& push : started->pushes) expected += push.shard == answered.shard;
  EXPECT_EQ(again.size(), expected - 1);
  for (const ClientPush& push : again) {
    EXPECT_EQ(push.shard, answered.shard);
    EXPECT_NE(push.header.chunk, answered.header.chunk);
  }
}

}  // namespace
}  // namespace tutti::ps
