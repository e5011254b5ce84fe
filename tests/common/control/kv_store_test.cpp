// SPDX-License-Identifier: Apache-2.0
#include "common/control/kv_store.h"

#include <gmock/gmock.h>

#include <limits>

namespace tutti {
namespace {

TimePoint at(int seconds) {
  return TimePoint() + std::chrono::seconds(seconds);
}
const MemberId kRank1{Role::kWorker, 1};

TEST(KvStore, FindsWhatWasSetLast) {
  KvStore store;
  EXPECT_EQ(store.find("key"), nullptr);
  store.set("key", "first").value();
  store.set("key", "second").value();
  EXPECT_EQ(*store.find("key"), "second");
}

TEST(KvStore, GivesTheWaitersOfAKeyToTheOneWhoSetsIt) {
  KvStore store;
  store.wait("key", {kRank1, 7, at(5)});
  EXPECT_TRUE(store.set("other", "").value().empty());
  const auto waiters = store.set("key", "value").value();
  ASSERT_EQ(waiters.size(), 1u);
  EXPECT_EQ(waiters[0].request, 7u);
  EXPECT_TRUE(store.set("key", "again").value().empty());
}

TEST(KvStore, LetsALateWaiterGo) {
  KvStore store;
  store.wait("key", {kRank1, 7, at(5)});
  store.wait("key", {kRank1, 8, at(9)});
  EXPECT_EQ(store.next_deadline(), at(5));
  const auto late = store.expire(at(5));
  ASSERT_EQ(late.size(), 1u);
  EXPECT_EQ(late[0].key, "key");
  EXPECT_EQ(store.next_deadline(), at(9));
  EXPECT_EQ(store.set("key", "").value().size(), 1u);
  EXPECT_FALSE(store.next_deadline());
}

TEST(KvStore, AddsToADecimalNumberAndCountsAMissingOneAsZero) {
  KvStore store;
  EXPECT_EQ(store.sum("count", 3).value(), 3);
  store.set("count", "-4").value();
  EXPECT_EQ(store.sum("count", 3).value(), -1);
  store.set("count", std::to_string(std::numeric_limits<std::int64_t>::max())).value();
  EXPECT_EQ(store.sum("count", 1).value(), std::numeric_limits<std::int64_t>::min());
  store.set("count", "4 sheep").value();
  EXPECT_EQ(store.sum("count", 3).error().code, Errc::kUsage);
}

TEST(KvStore, ContainsOnlyWhenAllKeysAreSet) {
  KvStore store;
  store.set("a", "").value();
  EXPECT_TRUE(store.contains({"a"}));
  EXPECT_FALSE(store.contains({"a", "b"}));
  EXPECT_TRUE(store.erase("a"));
  EXPECT_FALSE(store.erase("a"));
  EXPECT_FALSE(store.contains({"a"}));
}

TEST(KvStore, IsBoundedAndGetsRoomBackFromWhatIsReplacedOrErased) {
  KvStore store;
  const std::string half(KvStore::kBytesMax / 2, 'x');
  store.set("a", half).value();
  store.set("a", half).value();
  EXPECT_EQ(store.set("b", half).error().code, Errc::kUsage);
  EXPECT_TRUE(store.erase("a"));
  EXPECT_TRUE(store.set("b", half));
}

}  // namespace
}  // namespace tutti
