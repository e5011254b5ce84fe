// SPDX-License-Identifier: Apache-2.0
#include "common/mpi/mpi_world.h"

#include <gmock/gmock.h>

#include "tests/launch/mpi_ranks.h"

namespace tutti {
namespace {

using testing::ranks;
using testing::soon;

TEST(MpiEnvironment, IsKnownByItsOwnVariablesNotBySlurms) {
  EXPECT_TRUE(is_mpi_rank({{"OMPI_COMM_WORLD_SIZE", "2"}}));
  EXPECT_TRUE(is_mpi_rank({{"PMIX_RANK", "0"}}));
  EXPECT_TRUE(is_mpi_rank({{"PMI_RANK", "0"}}));
  EXPECT_FALSE(is_mpi_rank({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}}));
}

TEST(MpiWorld, GathersTextsOfAnyLengthInRankOrder) {
  auto& world = ranks();
  const auto text_of = [](int rank) {
    return std::string(static_cast<std::size_t>(rank), static_cast<char>('a' + rank));
  };
  const auto all = world.all_gather(text_of(world.rank()), soon()).value();
  ASSERT_EQ(all.size(), static_cast<std::size_t>(world.size()));
  for (int rank = 0; rank < world.size(); ++rank) EXPECT_EQ(all[static_cast<std::size_t>(rank)], text_of(rank));
}

TEST(MpiWorld, BroadcastsBytesWithZerosAmongThem) {
  auto& world = ranks();
  const std::string bytes("\0one\0", 5);
  const int root = world.size() - 1;
  EXPECT_EQ(world.broadcast(world.rank() == root ? bytes : std::string(), root, soon()).value(), bytes);
}

TEST(MpiWorld, AgreesOnTheGreatestValue) {
  auto& world = ranks();
  EXPECT_EQ(world.agree(world.rank() * 7 - 3, soon()).value(), (world.size() - 1) * 7 - 3);
}

TEST(MpiWorld, OverACommunicatorIsAWorldOfItsOwn) {
  auto& world = ranks();
  const auto other = MpiWorld::over(world.fortran_communicator()).value();
  EXPECT_EQ(other->rank(), world.rank());
  EXPECT_EQ(other->size(), world.size());
  EXPECT_EQ(other->agree(world.rank(), soon()).value(), world.size() - 1);
  EXPECT_TRUE(other->finalize().has_value()) << "MPI is not its to end";
  EXPECT_EQ(world.agree(1, soon()).value(), 1);
}

TEST(MpiWorld, PartOfItIsAWorldOfItsOwnInTheSameOrder) {
  auto& world = ranks();
  const bool is_even = world.rank() % 2 == 0;
  const auto even = world.part(is_even, soon()).value();
  ASSERT_EQ(even != nullptr, is_even);
  if (!even) return;
  EXPECT_EQ(even->rank(), world.rank() / 2);
  EXPECT_EQ(even->size(), (world.size() + 1) / 2);
  EXPECT_EQ(even->agree(world.rank(), soon()).value(), (world.size() - 1) / 2 * 2);
}

TEST(MpiWorld, PartGivesUpAtTheDeadlineWhereARankIsMissing) {
  auto& world = ranks();
  if (world.size() == 1) GTEST_SKIP() << "nobody can be missing";
  const auto lonely = MpiWorld::over(world.fortran_communicator()).value();
  if (world.rank() == 0) {
    const auto part = lonely->part(true, SteadyClock().now() + std::chrono::milliseconds(50));
    ASSERT_FALSE(part.has_value());
    EXPECT_EQ(part.error().code, Errc::kTimeout);
  }
  EXPECT_TRUE(world.agree(0, soon()).has_value());
}

TEST(MpiWorld, GivesUpAtTheDeadlineAndStaysSafeToDestroy) {
  auto& world = ranks();
  {
    const auto lonely = MpiWorld::over(world.fortran_communicator()).value();
    if (world.rank() == 0) {
      const auto agreed = lonely->agree(1, SteadyClock().now() + std::chrono::milliseconds(50));
      ASSERT_FALSE(agreed.has_value());
      EXPECT_EQ(agreed.error().code, Errc::kTimeout);
    }
  }
  EXPECT_EQ(world.agree(world.rank(), soon()).value(), world.size() - 1);
}

}  // namespace
}  // namespace tutti
