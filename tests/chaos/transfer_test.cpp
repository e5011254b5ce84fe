// SPDX-License-Identifier: Apache-2.0
// Who dies while a survivor gives its state to a newcomer is replaced as well, and the state is given again.
#include <gmock/gmock.h>

#include <csignal>

#include "tests/chaos/chaos_run.h"
#include "tests/chaos/proxy.h"

namespace tutti::testing {
namespace {

enum class Victim { kNewcomer, kDonor };

/// Rank 1 is killed in step 60. When half of a megabyte of the state has passed on its way to the successor, the one or
/// the other end of it is killed, once.
void expect_given_again(Victim victim) {
  const TemporaryFolder folder, marks_folder;
  const Marks marks(marks_folder.path(), 4);
  std::optional<Strike> strike;
  std::uint64_t given = 0;
  Proxy proxy(folder.path(), [&](const Piece& piece) {
    if (piece.to_server || piece.link.target != Link::Target::kDonor || strike) return Decision{};
    given += piece.size;
    if (given < 1u << 19) return Decision{};
    const bool is_donor = victim == Victim::kDonor;
    const pid_t pid = is_donor ? marks.pid(0) : piece.link.pid;
    strike = Strike{is_donor ? 0 : 1, 60, monotonic_ns()};
    ::kill(pid, SIGKILL);
    return kHold;
  });
  ChaosRun run({.faults = {"1:60:backward:9"}, .environment = proxy.environment(), .marks = marks_folder.path()});
  run.expect_same_bits();
  proxy.play(nullptr);
  ASSERT_TRUE(strike) << "no state was seen on its way";
  run.note(*strike);
  EXPECT_EQ(count(run.err(), "begins with a new process"), 2u) << run.err();
  run.report("36", 2);
}

TEST(Transfer, IsMadeAgainWhenTheNewcomerDies) {
  expect_given_again(Victim::kNewcomer);
}

TEST(Transfer, IsMadeAgainWhenTheDonorDies) {
  expect_given_again(Victim::kDonor);
}

}  // namespace
}  // namespace tutti::testing
