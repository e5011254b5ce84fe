// SPDX-License-Identifier: Apache-2.0
#include "common/control/kv_store.h"

#include <gmock/gmock.h>

#include <limits>

#include "tests/support/times.h"

namespace tutti {
namespace {

const MemberId kRank1{Role::kWorker, 1};

constexpr MemberId kRank{Role::kWorker, 0}, kShard{Role::kServer, 1};

TEST(KvStore, FindsWhatWasSetLast) {
  KvStore store;
  EXPECT_EQ(store.find("key"), nullptr);
  store.set("key", "first", kRank).value();
  store.set("key", "second", kRank).value();
  EXPECT_EQ(*store.find("key"), "second");
}

TEST(KvStore, GivesTheWaitersOfAKeyToTheOneWhoSetsIt) {
  KvStore store;
  store.wait("key", {kRank1, 7, at_second(5)});
  EXPECT_TRUE(store.set("other", "", kRank).value().empty());
  const auto waiters = store.set("key", "value", kRank).value();
  ASSERT_EQ(waiters.size(), 1u);
  EXPECT_EQ(waiters[0].request, 7u);
  EXPECT_TRUE(store.set("key", "again", kRank).value().empty());
}

TEST(KvStore, LetsALateWaiterGo) {
  KvStore store;
  store.wait("key", {kRank1, 7, at_second(5)});
  store.wait("key", {kRank1, 8, at_second(9)});
  EXPECT_EQ(store.next_deadline(), at_second(5));
  const auto late = store.expire(at_second(5));
  ASSERT_EQ(late.size(), 1u);
  EXPECT_EQ(late[0].key, "key");
  EXPECT_EQ(store.next_deadline(), at_second(9));
  EXPECT_EQ(store.set("key", "", kRank).value().size(), 1u);
  EXPECT_FALSE(store.next_deadline());
}

TEST(KvStore, AddsToADecimalNumberAndCountsAMissingOneAsZero) {
  KvStore store;
  EXPECT_EQ(store.sum("count", 3).value(), 3);
  store.set("count", "-4", kRank).value();
  EXPECT_EQ(store.sum("count", 3).value(), -1);
  store.set("count", std::to_string(std::numeric_limits<std::int64_t>::max()), kRank).value();
  EXPECT_EQ(store.sum("count", 1).value(), std::numeric_limits<std::int64_t>::min());
  store.set("count", "4 sheep", kRank).value();
  EXPECT_EQ(store.sum("count", 3).error().code, Errc::kUsage);
}

TEST(KvStore, ContainsOnlyWhenAllKeysAreSet) {
  KvStore store;
  store.set("a", "", kRank).value();
  EXPECT_TRUE(store.contains({"a"}));
  EXPECT_FALSE(store.contains({"a", "b"}));
  EXPECT_TRUE(store.erase("a"));
  EXPECT_FALSE(store.erase("a"));
  EXPECT_FALSE(store.contains({"a"}));
}

TEST(KvStore, IsBoundedAndGetsRoomBackFromWhatIsReplacedOrErased) {
  KvStore store;
  const std::string half(KvStore::kBytesMax / 2, 'x');
  store.set("a", half, kRank).value();
  store.set("a", half, kRank).value();
  EXPECT_EQ(store.set("b", half, kRank).error().code, Errc::kUsage);
  EXPECT_TRUE(store.erase("a"));
  EXPECT_TRUE(store.set("b", half, kRank));
}

TEST(KvStore, ForgetsWhatALostMemberHasSet) {
  KvStore store;
  store.set("shard/1", "10.0.0.7:4000", kShard).value();
  store.set("both", "shard's", kShard).value();
  store.set("both", "rank's", kRank).value();
  store.forget(kShard);
  EXPECT_EQ(store.find("shard/1"), nullptr);
  EXPECT_EQ(*store.find("both"), "rank's");
  store.wait("shard/1", {kRank, 7, TimePoint::max()});
  const auto waiters = store.set("shard/1", "10.0.0.7:4001", kShard).value();
  ASSERT_EQ(waiters.size(), 1u) << "who asks now waits for the successor";
  EXPECT_EQ(waiters[0].request, 7u);
}

}  // namespace
}  // namespace tutti
