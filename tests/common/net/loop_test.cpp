// SPDX-License-Identifier: Apache-2.0
#include "common/net/loop.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <vector>

namespace tutti {
namespace {

TEST(Loop, RunsOnItsOwnThreadAndReturnsTheValue) {
  Loop loop;
  EXPECT_FALSE(loop.on_loop());
  EXPECT_TRUE(loop.run([&] { return loop.on_loop(); }));
}

TEST(Loop, KeepsTheOrderOfWhatIsPosted) {
  Loop loop;
  std::vector<int> order;
  for (int i = 0; i < 100; ++i) loop.post([&order, i] { order.push_back(i); });
  const auto seen = loop.run([&] { return order; });
  ASSERT_EQ(seen.size(), 100u);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
}

TEST(Loop, DestroysWhatItDidNotRun) {
  const auto kept = std::make_shared<int>(0);
  {
    Loop loop;
    loop.context().stop();
    loop.post([kept] {});
  }
  EXPECT_EQ(kept.use_count(), 1);
}

}  // namespace
}  // namespace tutti
