// SPDX-License-Identifier: Apache-2.0
// GoogleTest on every rank of an MPI run: a test is a collective call, and the run fails where one rank fails.
#include <gtest/gtest.h>

#include "tests/launch/mpi_ranks.h"

namespace tutti::testing {
MpiWorld& ranks() {
  static const auto world = MpiWorld::init().value();
  return *world;
}
}  // namespace tutti::testing

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  auto& world = tutti::testing::ranks();
  auto& listeners = ::testing::UnitTest::GetInstance()->listeners();
  if (world.rank() != 0) delete listeners.Release(listeners.default_result_printer());
  const int failed = RUN_ALL_TESTS();
  const int agreed = world.agree(failed, tutti::SteadyClock().now() + std::chrono::seconds(20)).value();
  world.finalize().value();
  return agreed;
}
