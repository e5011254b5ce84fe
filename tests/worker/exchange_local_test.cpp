// SPDX-License-Identifier: Apache-2.0
#include "worker/exchange_local.h"

#include <gtest/gtest.h>

namespace tutti::worker {
namespace {

TEST(LocalExchange, LeavesTheBucketAsItIs) {
  std::vector<std::byte> bucket(8, std::byte{3});
  const auto exchange = make_local_exchange();
  EXPECT_EQ(exchange->traits().name, "local");
  ASSERT_TRUE(exchange->open({0, 0, {{DType::kFloat32, Reduction::kAverage, 2}}, {bucket.data()}}, {}));
  ASSERT_TRUE(exchange->start({1, 0}, 0));
  ASSERT_TRUE(exchange->poll());
  ASSERT_TRUE(exchange->finish({}));
  EXPECT_EQ(bucket, std::vector<std::byte>(8, std::byte{3}));
}

TEST(LocalExchange, FailsAfterAnAbortWithItsFirstCause) {
  const auto exchange = make_local_exchange();
  exchange->abort(fail(Errc::kCancelled, "the run is over"));
  exchange->abort(fail(Errc::kTimeout, "later"));
  EXPECT_EQ(exchange->start({1, 0}, 0).error().code, Errc::kCancelled);
  EXPECT_EQ(exchange->finish({}).error().code, Errc::kCancelled);
}

}  // namespace
}  // namespace tutti::worker
