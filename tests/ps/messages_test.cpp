// SPDX-License-Identifier: Apache-2.0
#include "ps/messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/bounded_archive.h"
#include "ps/host_buckets.h"

namespace tutti::ps {
namespace {

using testing::HasSubstr;

ObjectTable small_table() {
  return {3, 1, 4, 2, 128, {{DType::kFloat32, Reduction::kAverage, 100}, {DType::kInt64, Reduction::kBroadcast, 7}}};
}

template <class Message>
Result<Message> there_and_back(const Message& message) {
  const std::string bytes = encode(message);
  return decode<Message>(std::as_bytes(std::span(bytes)));
}

TEST(ObjectTable, ComesBackFromTheWire) {
  const auto table = there_and_back(small_table());
  ASSERT_TRUE(table) << table.error().text();
  EXPECT_EQ(*table, small_table());
}

TEST(OpenRequest, ComesBackFromTheWire) {
  OpenRequest request{small_table(), {"keeper", 2, 3}};
  request.table.connections = 4;
  const auto open = there_and_back(request);
  ASSERT_TRUE(open) << open.error().text();
  EXPECT_EQ(open->table, request.table);
  EXPECT_EQ(open->placement, request.placement);
}

TEST(CheckPlacement, RefusesALocalRankThatIsNone) {
  EXPECT_TRUE(check(Placement{}));
  EXPECT_TRUE(check(Placement{"keeper", 1, 2}));
  EXPECT_FALSE(check(Placement{"keeper", 2, 2}));
  EXPECT_FALSE(check(Placement{"keeper", -1, 2}));
  EXPECT_FALSE(check(Placement{"keeper", 0, 0}));
  EXPECT_FALSE(check(Placement{"keeper", 0, 1 << 20}));
  EXPECT_FALSE(check(Placement{std::string(200, 'k'), 0, 1}));
}

TEST(Opened, ComesBackFromTheWire) {
  const auto opened = there_and_back(Opened{2, 8, 5, "why", true});
  ASSERT_TRUE(opened);
  EXPECT_EQ(opened->window_chunks, 8);
  EXPECT_EQ(opened->refused, 5);
  EXPECT_EQ(opened->why, "why");
  EXPECT_TRUE(opened->in_place);
}

TEST(CheckTable, AcceptsAnOrdinaryOne) {
  EXPECT_TRUE(check(small_table()));
}

template <class Change>
std::string refusal(Change change) {
  ObjectTable table = small_table();
  change(table);
  const auto checked = check(table);
  return checked ? "accepted" : checked.error().text();
}

TEST(CheckTable, RefusesWhatNoRankCanMean) {
  EXPECT_THAT(refusal([](auto& table) { table.object = kObjectsMax; }), HasSubstr("not below"));
  EXPECT_THAT(refusal([](auto& table) { table.world_size = 0; }), HasSubstr("0 ranks"));
  EXPECT_THAT(refusal([](auto& table) { table.world_size = 70000; }), HasSubstr("70000 ranks"));
  EXPECT_THAT(refusal([](auto& table) { table.shards = -1; }), HasSubstr("-1 shards"));
  EXPECT_THAT(refusal([](auto& table) { table.connections = 0; }), HasSubstr("0 connections"));
  EXPECT_THAT(refusal([](auto& table) { table.connections = kConnectionsMax + 1; }), HasSubstr("17 connections"));
  EXPECT_THAT(refusal([](auto& table) { table.chunk_bytes = 0; }), HasSubstr("0 bytes"));
  EXPECT_THAT(refusal([](auto& table) { table.chunk_bytes = 100; }), HasSubstr("100 bytes"));
  EXPECT_THAT(refusal([](auto& table) { table.chunk_bytes = 2 * kPayloadBytesMax; }), HasSubstr("chunks of"));
}

TEST(CheckTable, RefusesSizesThatWouldExhaustMemoryBeforeAllocatingForThem) {
  EXPECT_THAT(refusal([](auto& table) { table.buckets[0].elements = ~0ull; }), HasSubstr("elements"));
  EXPECT_THAT(refusal([](auto& table) { table.buckets[0].elements = 1ull << 40; }),
              HasSubstr("more than 1048576 chunks"));
}

TEST(CheckTable, RefusesAnAverageOfIntegers) {
  EXPECT_THAT(refusal([](auto& table) { table.buckets[1].reduction = Reduction::kAverage; }), HasSubstr("not defined"));
}

template <class Change>
std::string difference_after(Change change) {
  ObjectTable table = small_table();
  change(table);
  return first_difference(table, small_table());
}

TEST(FirstDifference, NamesWhatWasFoundAndWhatWasExpected) {
  EXPECT_EQ(difference_after([](auto&) {}), "");
  EXPECT_EQ(difference_after([](auto& table) { table.connections = 2; }),
            "the number of connections is 2, 1 was expected");
  EXPECT_EQ(difference_after([](auto& table) { table.chunk_bytes = 64; }), "chunk_bytes is 64, 128 was expected");
  EXPECT_EQ(difference_after([](auto& table) { table.buckets.pop_back(); }),
            "the number of buckets is 1, 2 was expected");
  EXPECT_EQ(difference_after([](auto& table) { table.buckets[0].elements = 101; }),
            "bucket 0 is 101 elements of F32, averaged, 100 elements of F32, averaged was expected");
}

TEST(Describe, SaysRoundsAndRanksAsAUserReadsThem) {
  EXPECT_EQ(describe(Round{12, 0}), "step 12");
  EXPECT_EQ(describe(Round{12, 1}), "step 12 (exchange 1)");
  EXPECT_EQ(describe_ranks({2}), "rank 2");
  EXPECT_EQ(describe_ranks({0, 3}), "ranks 0, 3");
}

}  // namespace
}  // namespace tutti::ps
