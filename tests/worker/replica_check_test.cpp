// SPDX-License-Identifier: Apache-2.0
#include "worker/replica_check.h"

#include <gmock/gmock.h>

namespace tutti::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Hashes = std::vector<std::string>;

TEST(ReplicaCheck, FindsNothingWhereAllAgree) {
  for (const Hashes& hashes : {Hashes{"a"}, Hashes{"a", "a"}, Hashes{"a", "a", "a"}}) {
    EXPECT_TRUE(compare_replicas(hashes).agree);
    EXPECT_THAT(compare_replicas(hashes).odd, IsEmpty());
  }
}

TEST(ReplicaCheck, NamesTheOddRanksByMajority) {
  const Hashes hashes{"b", "a", "a"};
  const ReplicaVerdict verdict = compare_replicas(hashes);
  EXPECT_FALSE(verdict.agree);
  EXPECT_TRUE(verdict.has_majority());
  EXPECT_THAT(verdict.odd, ElementsAre(0));
  EXPECT_EQ(describe(verdict, hashes), "rank 0 (b), unlike the others (a)");
  EXPECT_THAT(compare_replicas(Hashes{"a", "b", "a", "c", "a"}).odd, ElementsAre(1, 3));
}

TEST(ReplicaCheck, FindsNoMajorityInHalfOfThem) {
  for (const Hashes& hashes : {Hashes{"a", "b"}, Hashes{"a", "a", "b", "b"}, Hashes{"a", "b", "c"}}) {
    const ReplicaVerdict verdict = compare_replicas(hashes);
    EXPECT_FALSE(verdict.agree);
    EXPECT_FALSE(verdict.has_majority());
  }
  const Hashes two{"a", "b"};
  EXPECT_EQ(describe(compare_replicas(two), two), "rank 0 (a), rank 1 (b), with no majority");
}

}  // namespace
}  // namespace tutti::worker
