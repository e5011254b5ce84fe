// SPDX-License-Identifier: Apache-2.0
#include "ps/shard_fsm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

namespace tutti::ps {
namespace {

using testing::HasSubstr;

constexpr int kRanks = 3;
constexpr int kWindow = 2;
constexpr std::uint32_t kGeneration = 5;
constexpr std::size_t kChunkBytes = 64;
constexpr std::uint32_t kBroadcastChunk = 4;

/// Bucket 0 is four chunks of 16 floats, bucket 1 one chunk that rank 0 broadcasts.
ObjectTable table_of(std::uint32_t number = 0) {
  return {0, number,      kRanks,
          1, kChunkBytes, {{DType::kFloat32, Reduction::kSum, 64}, {DType::kInt8, Reduction::kBroadcast, 10}}};
}

FrameHeader push_of(int rank, std::uint32_t chunk, std::uint64_t step = 1) {
  FrameHeader header;
  header.type = FrameType::kPush;
  header.generation = kGeneration;
  header.step = step;
  header.sender = static_cast<std::uint16_t>(rank);
  header.chunk = chunk;
  header.payload_bytes = chunk == kBroadcastChunk ? (rank == 0 ? 10 : 0) : kChunkBytes;
  return header;
}

class Shard : public testing::Test {
 protected:
  void SetUp() override {
    for (int rank = 0; rank < kRanks; ++rank) ASSERT_TRUE(machine_.open(rank, push_of(rank, 0), table_of()));
  }

  /// The whole push: every byte of it is `value` as a float.
  Result<ShardStep> push(int rank, std::uint32_t chunk, std::uint64_t step = 1, float value = 1) {
    const FrameHeader header = push_of(rank, chunk, step);
    const auto place = machine_.place(rank, header);
    if (!place) return place.error();
    for (std::size_t i = 0; i + sizeof value <= place->size(); i += sizeof value)
      std::memcpy(place->data() + i, &value, sizeof value);
    return machine_.pushed(rank, header);
  }

  Result<ShardStep> push_result(int rank, std::uint32_t chunk, float value) {
    FrameHeader header = push_of(rank, chunk);
    header.flags = kHasResult;
    header.payload_bytes = chunk == kBroadcastChunk ? 10 : kChunkBytes;
    const auto place = machine_.place(rank, header);
    if (!place) return place.error();
    std::memcpy(place->data(), &value, sizeof value);
    return machine_.pushed(rank, header);
  }

  std::size_t buffers() const { return machine_.object(0)->memory().in_use(); }
  std::string refusal(int rank, const FrameHeader& header) {
    const auto place = machine_.place(rank, header);
    if (place) return "accepted";
    EXPECT_EQ(place.error().code, Errc::kProtocol);
    return place.error().text();
  }
  static float first_float(const ShardSend& send) {
    float value = 0;
    std::memcpy(&value, send.result.get(), sizeof value);
    return value;
  }

  ShardFsm machine_{
      {.index = 0, .shards = 1, .world_size = kRanks, .generation = kGeneration, .window_chunks = kWindow}};
};

TEST_F(Shard, GrantsTheWindowWhenItOpens) {
  const auto opened = machine_.open(1, push_of(1, 0), table_of());
  ASSERT_TRUE(opened);
  EXPECT_EQ(opened->window_chunks, kWindow);
}

TEST_F(Shard, SendsTheSumToEveryRankOnceTheSetIsComplete) {
  EXPECT_TRUE(push(2, 1, 1, 30)->sends.empty());
  EXPECT_TRUE(push(0, 1, 1, 1)->sends.empty());
  const auto step = push(1, 1, 1, 200);
  ASSERT_TRUE(step);
  EXPECT_TRUE(step->summed);
  ASSERT_EQ(step->sends.size(), 3u);
  for (int rank = 0; rank < kRanks; ++rank) {
    const ShardSend& send = step->sends[static_cast<std::size_t>(rank)];
    EXPECT_EQ(send.rank, rank);
    EXPECT_EQ(send.header.type, FrameType::kResult);
    EXPECT_EQ(send.header.chunk, 1u);
    EXPECT_EQ(send.header.step, 1u);
    EXPECT_EQ(send.header.generation, kGeneration);
    EXPECT_EQ(send.bytes, kChunkBytes);
    EXPECT_EQ(first_float(send), 231.0f);
  }
}

TEST_F(Shard, TellsEveryRankWhoseContributionIsNotFinite) {
  ASSERT_TRUE(push(2, 1, 1, std::numeric_limits<float>::infinity()));
  ASSERT_TRUE(push(0, 1, 1, 1));
  const auto step = push(1, 1, 1, std::numeric_limits<float>::quiet_NaN());
  ASSERT_EQ(step->sends.size(), 3u);
  for (const ShardSend& send : step->sends) {
    EXPECT_EQ(send.header.flags, kNotFinite);
    EXPECT_EQ(send.not_finite, (std::vector<NotFiniteElement>{{1, 0}, {2, 0}}));
    EXPECT_EQ(send.bytes, kChunkBytes) << "the result is there all the same";
  }
  const auto again = push(0, 1, 1, 1);
  ASSERT_EQ(again->sends.size(), 1u);
  EXPECT_EQ(again->sends[0].not_finite.size(), 2u);
  for (int rank = 0; rank < kRanks; ++rank) EXPECT_TRUE(push(rank, 1, 2, 1));
}

TEST_F(Shard, RefusesPartsOfAResultThatNoChunkCanHave) {
  FrameHeader header = push_of(0, 0);
  const auto refusal_of = [&](const ByteRanges& ranges) {
    const auto place = machine_.place(0, header, 0, ranges);
    return place ? std::string() : place.error().text();
  };
  const auto is_refused = HasSubstr("cannot have results of");
  EXPECT_THAT(refusal_of({{0, 64}}), is_refused) << "without the flag";
  header.flags = kHasRanges;
  EXPECT_THAT(refusal_of({}), is_refused);
  EXPECT_THAT(refusal_of({{0, 65}}), is_refused);
  EXPECT_THAT(refusal_of({{0, 8}}), is_refused) << "in the middle of a block";
  header.chunk = kBroadcastChunk;
  header.payload_bytes = 10;
  EXPECT_THAT(refusal_of({{0, 10}}), is_refused) << "a broadcast has no inputs that could be lost";
}

TEST_F(Shard, ReleasesTheContributionsAndKeepsOneResult) {
  for (int rank = 0; rank < kRanks; ++rank) ASSERT_TRUE(push(rank, 0));
  EXPECT_EQ(buffers(), 1u);
}

TEST_F(Shard, LetsAResultGoOnceEveryRankIsKnownToHaveIt) {
  for (std::uint32_t chunk = 0; chunk < 4; ++chunk) {
    for (int rank = 0; rank < kRanks; ++rank) ASSERT_TRUE(push(rank, chunk));
  }
  EXPECT_EQ(buffers(), static_cast<std::size_t>(kWindow));  // a rank that pushed chunk 3 has the results of 0 and 1
}

TEST_F(Shard, KeepsTheResultThatIsStillBeingSent) {
  ASSERT_TRUE(push(0, 0, 1, 1));
  ASSERT_TRUE(push(1, 0, 1, 2));
  const auto step = push(2, 0, 1, 4);
  for (std::uint32_t chunk = 1; chunk < 4; ++chunk) {
    for (int rank = 0; rank < kRanks; ++rank) ASSERT_TRUE(push(rank, chunk, 1, 100));
  }
  EXPECT_EQ(first_float(step->sends[0]), 7.0f);
}

TEST_F(Shard, SendsRankZerosBytesWhenEveryRankIsReadyForABroadcast) {
  const FrameHeader root = push_of(0, kBroadcastChunk);
  const auto place = machine_.place(0, root);
  ASSERT_TRUE(place);
  ASSERT_EQ(place->size(), 10u);
  std::memcpy(place->data(), "0123456789", 10);
  ASSERT_TRUE(machine_.pushed(0, root));
  EXPECT_TRUE(push(1, kBroadcastChunk)->sends.empty());
  const auto step = push(2, kBroadcastChunk);
  ASSERT_EQ(step->sends.size(), 3u);
  EXPECT_EQ(std::memcmp(step->sends[2].result.get(), "0123456789", 10), 0);
  EXPECT_EQ(step->sends[2].bytes, 10u);
}

TEST_F(Shard, NeverAddsARepeatTwice) {
  ASSERT_TRUE(push(0, 0, 1, 1));
  const auto repeat = push(0, 0, 1, 1);
  ASSERT_TRUE(repeat);
  EXPECT_TRUE(repeat->sends.empty());
  ASSERT_TRUE(push(1, 0, 1, 2));
  EXPECT_EQ(first_float(push(2, 0, 1, 4)->sends[0]), 7.0f);
}

TEST_F(Shard, AnswersTheRepeatOfACompletedPushWithTheKeptResult) {
  ASSERT_TRUE(push(0, 0, 1, 1));
  ASSERT_TRUE(push(1, 0, 1, 2));
  ASSERT_TRUE(push(2, 0, 1, 4));
  const auto repeat = push(1, 0, 1, 99);
  ASSERT_TRUE(repeat);
  EXPECT_FALSE(repeat->summed);
  ASSERT_EQ(repeat->sends.size(), 1u);
  EXPECT_EQ(repeat->sends[0].rank, 1);
  EXPECT_EQ(first_float(repeat->sends[0]), 7.0f);
}

TEST_F(Shard, IgnoresARepeatFromARankThatHasAdvanced) {
  for (std::uint32_t chunk = 0; chunk < 4; ++chunk) {
    for (int rank = 0; rank < kRanks; ++rank) ASSERT_TRUE(push(rank, chunk));
  }
  const auto repeat = push(1, 0);
  ASSERT_TRUE(repeat);
  EXPECT_TRUE(repeat->sends.empty());
}

TEST_F(Shard, DropsWhatWasHalfReceivedWhenARankIsLost) {
  ASSERT_TRUE(push(0, 0, 1, 1));
  ASSERT_TRUE(machine_.place(1, push_of(1, 0)));
  EXPECT_EQ(buffers(), 2u);
  machine_.lost(1);
  EXPECT_EQ(buffers(), 1u);
  ASSERT_TRUE(push(2, 0, 1, 4));
  EXPECT_EQ(first_float(push(1, 0, 1, 2)->sends[0]), 7.0f);  // it came again and pushed again
}

TEST_F(Shard, KeepsWhatALostRankHadPushedWhole) {
  ASSERT_TRUE(push(1, 0, 1, 2));
  machine_.lost(1);
  ASSERT_TRUE(push(0, 0, 1, 1));
  EXPECT_EQ(first_float(push(2, 0, 1, 4)->sends[0]), 7.0f);
}

TEST_F(Shard, RefusesAnotherGeneration) {
  FrameHeader old = push_of(1, 0);
  old.generation = kGeneration - 1;
  EXPECT_EQ(refusal(1, old), "rank 1 sent a frame of generation 4, this is generation 5");
  EXPECT_FALSE(machine_.open(1, old, table_of()));
  EXPECT_EQ(buffers(), 0u);
}

TEST_F(Shard, RefusesAFrameInAnothersName) {
  EXPECT_THAT(refusal(1, push_of(2, 0)), HasSubstr("rank 1 sent a frame of rank 2"));
}

TEST_F(Shard, RefusesARankOutsideTheWorld) {
  EXPECT_THAT(refusal(kRanks, push_of(kRanks, 0)), HasSubstr("in a world of 3"));
  EXPECT_THAT(refusal(-1, push_of(0, 0)), HasSubstr("in a world of 3"));
}

TEST_F(Shard, RefusesAnUnknownChunk) {
  FrameHeader header = push_of(1, 0);
  header.chunk = 5;
  EXPECT_EQ(refusal(1, header), "rank 1 pushed chunk 5 of object 0, which has 5");
}

TEST_F(Shard, RefusesAnObjectThatTheRankHasNotOpened) {
  FrameHeader header = push_of(1, 0);
  header.object = 7;
  EXPECT_EQ(refusal(1, header), "rank 1 pushed to object 7, which it has not opened");
  EXPECT_EQ(machine_.object(7), nullptr);
}

TEST_F(Shard, RefusesAWrongLengthBeforeItTakesMemory) {
  FrameHeader header = push_of(1, 0);
  header.payload_bytes = kPayloadBytesMax;
  EXPECT_EQ(refusal(1, header), "rank 1 pushed 1073741824 bytes for chunk 0, expected 64");
  EXPECT_EQ(machine_.object(0)->memory().allocated(), 0u);
}

TEST_F(Shard, RefusesBytesFromARankThatOnlyReceives) {
  FrameHeader header = push_of(1, kBroadcastChunk);
  header.payload_bytes = 10;
  EXPECT_THAT(refusal(1, header), HasSubstr("expected 0"));
}

TEST_F(Shard, RefusesAPushBeyondTheWindow) {
  ASSERT_TRUE(push(1, 0));
  ASSERT_TRUE(push(1, 1));
  EXPECT_EQ(refusal(1, push_of(1, 2)), "rank 1 pushed chunk 2 beyond its window of 2 chunks");
  EXPECT_EQ(buffers(), 2u);
}

TEST_F(Shard, RefusesARankThatIsInAnotherStep) {
  ASSERT_TRUE(push(0, 0, 7));
  EXPECT_EQ(refusal(1, push_of(1, 0, 6)), "rank 1 pushed chunk 0 of step 6, but step 7 waits for ranks 1, 2");
  EXPECT_THAT(refusal(1, push_of(1, 0, 8)), HasSubstr("of step 8"));
}

TEST_F(Shard, LooksAgainWhenTheBytesAreThereBecauseAnotherRankMayHaveBegunTheSet) {
  ASSERT_TRUE(machine_.place(1, push_of(1, 0, 6)));
  ASSERT_TRUE(push(0, 0, 7));
  const auto late = machine_.pushed(1, push_of(1, 0, 6));
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Errc::kProtocol);
  EXPECT_EQ(buffers(), 1u);
}

TEST_F(Shard, RefusesAPushForAnotherShard) {
  ShardFsm second({.index = 1, .shards = 2, .world_size = kRanks, .generation = kGeneration, .window_chunks = kWindow});
  ObjectTable table = table_of();
  table.shards = 2;
  ASSERT_TRUE(second.open(0, push_of(0, 0), table));
  const auto place = second.place(0, push_of(0, 0));
  ASSERT_FALSE(place);
  EXPECT_THAT(place.error().text(), HasSubstr("it belongs to shard 0"));
}

TEST_F(Shard, RefusesATableThatDiffersAndNamesTheDifference) {
  ObjectTable other = table_of();
  other.buckets[0].elements = 65;
  const auto opened = machine_.open(2, push_of(2, 0), other);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::kMismatch);
  EXPECT_EQ(opened.error().text(),
            "object 0 of rank 2 differs from the other ranks': bucket 0 is 65 elements of F32, summed, 64 elements of "
            "F32, summed "
            "was expected");
}

TEST_F(Shard, RefusesATableOfAnotherWorld) {
  ObjectTable other = table_of();
  other.world_size = kRanks + 1;
  EXPECT_EQ(machine_.open(2, push_of(2, 0), other).error().code, Errc::kMismatch);
}

TEST_F(Shard, ReplacesAnIdleObjectByALaterPlan) {
  ObjectTable later = table_of(1);
  later.buckets[0].elements = 16;
  ASSERT_TRUE(machine_.open(0, push_of(0, 0), later));
  EXPECT_EQ(machine_.object(0)->table(), later);
  EXPECT_THAT(refusal(1, push_of(1, 0)), HasSubstr("has not opened"));
  EXPECT_EQ(machine_.open(1, push_of(1, 0), table_of()).error().code, Errc::kMismatch);
}

TEST_F(Shard, KeepsAnObjectWhileASetWaits) {
  ASSERT_TRUE(push(1, 0));
  EXPECT_EQ(machine_.open(0, push_of(0, 0), table_of(1)).error().code, Errc::kProtocol);
}

TEST_F(Shard, KeepsAnObjectWhileBytesComeIn) {
  ASSERT_TRUE(machine_.place(1, push_of(1, 0)));
  EXPECT_EQ(machine_.open(0, push_of(0, 0), table_of(1)).error().code, Errc::kProtocol);
}

TEST_F(Shard, TellsWhoHasNotPushed) {
  ASSERT_TRUE(push(1, 3));
  EXPECT_EQ(machine_.answer(1, push_of(1, 3))->ranks, (std::vector<std::int32_t>{0, 2}));
  EXPECT_TRUE(machine_.answer(1, push_of(1, 2))->ranks.empty());
  FrameHeader nonsense = push_of(1, 99);
  EXPECT_TRUE(machine_.answer(1, nonsense)->ranks.empty());
}

TEST_F(Shard, BoundsItsMemoryByWindowRanksAndChunk) {
  for (std::uint64_t step = 1; step < 20; ++step) {
    for (std::uint32_t first = 0; first < 4; first += kWindow) {
      for (int rank = 0; rank < kRanks; ++rank) {
        for (std::uint32_t chunk = first; chunk < first + kWindow; ++chunk) ASSERT_TRUE(push(rank, chunk, step));
      }
    }
  }
  const BufferPool& memory = machine_.object(0)->memory();
  EXPECT_LE(memory.allocated(), static_cast<std::size_t>(kRanks * (kWindow + 1)));
  EXPECT_EQ(memory.buffer_bytes(), kChunkBytes);
}

TEST_F(Shard, RefusesToGrowWhenResultsAreNotRead) {
  std::vector<ShardSend> never_sent;
  std::string refused;
  for (std::uint64_t step = 1; refused.empty() && step < 20; ++step) {
    for (std::uint32_t chunk = 0; refused.empty() && chunk < 4; ++chunk) {
      for (int rank = 0; rank < kRanks; ++rank) {
        auto pushed = push(rank, chunk, step);
        if (!pushed) {
          refused = pushed.error().text();
          break;
        }
        for (ShardSend& send : pushed->sends) never_sent.push_back(std::move(send));
      }
    }
  }
  EXPECT_THAT(refused, HasSubstr("results of object 0 are not read"));
  EXPECT_EQ(buffers(), static_cast<std::size_t>(kRanks * (2 * kWindow + 1)));
}

TEST_F(Shard, RefusesAChunkOnAnotherConnectionThanItsOwn) {
  ShardFsm machine({.index = 0, .shards = 1, .world_size = kRanks, .generation = kGeneration, .window_chunks = 1});
  ObjectTable table = table_of();
  table.connections = 2;
  ASSERT_TRUE(machine.open(0, push_of(0, 0), table));
  EXPECT_EQ(machine.place(0, push_of(0, 1), 0).error().text(),
            "rank 0 pushed chunk 1 on connection 0, it belongs to 1");
  EXPECT_FALSE(machine.place(0, push_of(0, 0), 7));
  ASSERT_TRUE(machine.place(0, push_of(0, 0), 0));
  ASSERT_TRUE(machine.place(0, push_of(0, 1), 1)) << "each connection receives a frame of its own";
  machine.lost(0, 1);
  EXPECT_EQ(machine.object(0)->memory().in_use(), 1u);
}

TEST_F(Shard, HandsAResultOnInsteadOfSumming) {
  ASSERT_TRUE(push(0, 1, 1, 1));
  ASSERT_TRUE(push_result(2, 1, 42));
  const auto step = push(1, 1, 1, 2);
  ASSERT_TRUE(step);
  ASSERT_EQ(step->sends.size(), 3u);
  EXPECT_EQ(first_float(step->sends[0]), 42.0f);
  EXPECT_EQ(first_float(step->sends[1]), 42.0f);
  EXPECT_EQ(step->sends[2].result, nullptr) << "who has it is told that everybody has pushed";
  EXPECT_EQ(step->sends[2].bytes, 0u);
}

TEST_F(Shard, TakesABroadcastsResultFromARankThatWouldOnlyReceive) {
  ASSERT_TRUE(push_result(2, kBroadcastChunk, 42));
  ASSERT_TRUE(push(1, kBroadcastChunk));
  const auto step = push(0, kBroadcastChunk, 1, 42);  // rank 0 is new, and computes the same again
  ASSERT_TRUE(step);
  EXPECT_EQ(first_float(step->sends[1]), 42.0f);
  EXPECT_EQ(step->sends[2].result, nullptr);
}

TEST_F(Shard, DropsWhatIsOfAnOlderGeneration) {
  ASSERT_TRUE(push(0, 1));
  ASSERT_TRUE(push(1, 2));
  machine_.begin_generation(kGeneration + 1);
  EXPECT_EQ(machine_.generation(), kGeneration + 1);
  EXPECT_EQ(machine_.object(0), nullptr);
  EXPECT_THAT(refusal(2, push_of(2, 1)), HasSubstr("of generation 5, this is generation 6"));
  FrameHeader header = push_of(2, 1);
  header.generation = kGeneration + 1;
  EXPECT_THAT(refusal(2, header), HasSubstr("which it has not opened"));
  ASSERT_TRUE(machine_.open(2, header, table_of()));
  EXPECT_EQ(refusal(2, header), "accepted");
}

/// Ranks whose buckets this process shares, beside ranks that send theirs.
class SharingShard : public Shard {
 protected:
  void share(int rank) {
    auto& buckets = buckets_[static_cast<std::size_t>(rank)];
    buckets.assign(64, static_cast<float>(1 << rank));
    auto& text = texts_[static_cast<std::size_t>(rank)];
    text = std::string(10, static_cast<char>('a' + rank));
    const auto of = [](auto& memory) {
      return std::shared_ptr<std::byte>(reinterpret_cast<std::byte*>(memory.data()), [](std::byte*) {});
    };
    machine_.share(rank, 0, {{of(buckets), of(text)}, {}});
  }
  Result<ShardStep> push_in_place(int rank, std::uint32_t chunk) {
    FrameHeader header = push_of(rank, chunk);
    header.payload_bytes = 0;
    const auto place = machine_.place(rank, header);
    if (!place) return place.error();
    return machine_.pushed(rank, header);
  }
  float at(int rank, std::size_t element) const { return buckets_[static_cast<std::size_t>(rank)][element]; }

  std::array<std::vector<float>, kRanks> buckets_;
  std::array<std::string, kRanks> texts_;
};

TEST_F(SharingShard, WritesTheSumIntoEveryBucketAndSendsNoBytes) {
  for (int rank = 0; rank < kRanks; ++rank) share(rank);
  ASSERT_TRUE(push_in_place(2, 1));
  ASSERT_TRUE(push_in_place(0, 1));
  const auto step = push_in_place(1, 1);
  ASSERT_TRUE(step) << step.error().text();
  EXPECT_TRUE(step->summed);
  EXPECT_EQ(step->summed_bytes, kChunkBytes);
  ASSERT_EQ(step->sends.size(), 3u);
  for (int rank = 0; rank < kRanks; ++rank) {
    const ShardSend& send = step->sends[static_cast<std::size_t>(rank)];
    EXPECT_EQ(send.rank, rank);
    EXPECT_EQ(send.header.type, FrameType::kResult);
    EXPECT_EQ(send.result, nullptr);
    EXPECT_EQ(send.bytes, 0u);
    EXPECT_EQ(at(rank, 15), static_cast<float>(1 << rank));
    EXPECT_EQ(at(rank, 16), 7.0f);
    EXPECT_EQ(at(rank, 31), 7.0f);
    EXPECT_EQ(at(rank, 32), static_cast<float>(1 << rank));
  }
  EXPECT_EQ(machine_.object(0)->memory().allocated(), 0u);
}

TEST_F(SharingShard, SumsBucketsHereWithThoseThatWereSentAndKeepsACopyForTheirRanks) {
  share(0);
  share(2);
  ASSERT_TRUE(push_in_place(0, 0));
  ASSERT_TRUE(push(1, 0, 1, 2.0f));
  const auto step = push_in_place(2, 0);
  ASSERT_TRUE(step);
  EXPECT_EQ(at(0, 0), 7.0f);
  EXPECT_EQ(at(2, 15), 7.0f);
  EXPECT_EQ(step->sends[0].result, nullptr);
  buckets_[0].assign(64, 99.0f);  // the rank goes on with its bucket while the result is still being sent
  EXPECT_EQ(first_float(step->sends[1]), 7.0f);
  EXPECT_EQ(step->sends[1].bytes, kChunkBytes);
  EXPECT_EQ(buffers(), 1u);
}

TEST_F(SharingShard, BroadcastsFromABucketToBucketsAndToRanksElsewhere) {
  share(0);
  share(1);
  ASSERT_TRUE(push_in_place(0, kBroadcastChunk));
  ASSERT_TRUE(push_in_place(1, kBroadcastChunk));
  const auto step = push(2, kBroadcastChunk);
  ASSERT_TRUE(step);
  EXPECT_EQ(texts_[1], "aaaaaaaaaa");
  texts_[0] = "zzzzzzzzzz";
  EXPECT_EQ(std::memcmp(step->sends[2].result.get(), "aaaaaaaaaa", 10), 0);
  EXPECT_EQ(step->sends[1].result, nullptr);
}

TEST_F(SharingShard, BroadcastsBytesThatWereSentIntoBuckets) {
  share(2);
  const FrameHeader root = push_of(0, kBroadcastChunk);
  std::memcpy(machine_.place(0, root)->data(), "0123456789", 10);
  ASSERT_TRUE(machine_.pushed(0, root));
  ASSERT_TRUE(push_in_place(2, kBroadcastChunk));
  const auto step = push(1, kBroadcastChunk);
  ASSERT_TRUE(step);
  EXPECT_EQ(texts_[2], "0123456789");
  EXPECT_EQ(std::memcmp(step->sends[1].result.get(), "0123456789", 10), 0);
}

TEST_F(SharingShard, RefusesBytesOfARankWhoseBucketsItShares) {
  share(1);
  EXPECT_THAT(refusal(1, push_of(1, 0)), HasSubstr("expected 0"));
}

TEST_F(SharingShard, SaysAgainThatItWroteIntoABucketAndLeavesItAlone) {
  for (int rank = 0; rank < kRanks; ++rank) share(rank);
  for (int rank = 0; rank < kRanks; ++rank) ASSERT_TRUE(push_in_place(rank, 0));
  const auto repeat = push_in_place(1, 0);
  ASSERT_TRUE(repeat);
  EXPECT_FALSE(repeat->summed);
  ASSERT_EQ(repeat->sends.size(), 1u);
  EXPECT_EQ(repeat->sends[0].rank, 1);
  EXPECT_EQ(repeat->sends[0].result, nullptr);
  EXPECT_EQ(at(1, 0), 7.0f);
}

TEST_F(SharingShard, WritesDownWhatItHasDoneInTheBuckets) {
  const ChunkJournal::Layout layout{0, 5, 1};
  const auto segment =
      std::make_shared<Segment>(Segment::create({1, 0, layout.blocks(), layout.data_bytes()}, 1).value());
  ChunkJournal journal(segment, layout);
  const ChunkPlan plan(table_of().buckets, kChunkBytes);
  const auto recovered = [&](std::uint32_t chunk, std::uint32_t generation) {
    return journal.recover(0, plan.chunks()[chunk], stamp_of(generation, {1, 0}), nullptr);
  };
  for (int rank = 0; rank < kRanks; ++rank) {
    share(rank);
    const auto of = [](auto& memory) {
      return std::shared_ptr<std::byte>(reinterpret_cast<std::byte*>(memory.data()), [](std::byte*) {});
    };
    auto index = static_cast<std::size_t>(rank);
    machine_.share(rank, 0, {{of(buckets_[index]), of(texts_[index])}, journal});
  }
  for (int rank = 0; rank < kRanks; ++rank) {
    EXPECT_TRUE(recovered(2, kGeneration).empty());
    ASSERT_TRUE(push_in_place(rank, 2));
  }
  EXPECT_EQ(recovered(2, kGeneration), (ByteRanges{{0, kChunkBytes}}));
  EXPECT_TRUE(recovered(2, kGeneration + 1).empty());
  EXPECT_TRUE(recovered(1, kGeneration).empty());
  EXPECT_EQ(at(0, 32), 7.0f);
  EXPECT_EQ(at(2, 47), 7.0f);
  float in_scratch = 0;
  std::memcpy(&in_scratch, journal.scratch(0, 0), sizeof in_scratch);
  EXPECT_EQ(in_scratch, 7.0f);
}

TEST_F(SharingShard, HoldsABucketUntilWhatWasPushedFromItIsSummed) {
  auto held = std::make_shared<std::vector<float>>(64, 2.0f);
  const std::shared_ptr<std::byte> bucket(held, reinterpret_cast<std::byte*>(held->data()));
  machine_.share(1, 0, {{bucket, nullptr}, {}});
  ASSERT_TRUE(push_in_place(1, 0));
  ASSERT_TRUE(machine_.open(1, push_of(1, 0), table_of()));  // it came again, and shares nothing
  EXPECT_EQ(held.use_count(), 3);
  ASSERT_TRUE(push(0, 0, 1, 1.0f));
  EXPECT_EQ(first_float(push(2, 0, 1, 4.0f)->sends[0]), 7.0f);
  EXPECT_EQ(held.use_count(), 2);
}

TEST_F(SharingShard, TakesBytesAgainFromARankThatOpensWithoutSharing) {
  share(1);
  ASSERT_TRUE(machine_.open(1, push_of(1, 0), table_of()));
  EXPECT_TRUE(push(1, 0));
}

}  // namespace
}  // namespace tutti::ps
