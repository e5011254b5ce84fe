// SPDX-License-Identifier: Apache-2.0
// Ranks that are lost inside a collective of an engine, which leaves garbage behind and a group that is of no use: here
// Gloo. gpu_test.cpp does the same to NCCL.
#include <gmock/gmock.h>

#include "tests/chaos/chaos_run.h"

namespace tutti::testing {
namespace {

TEST(KilledInAnEngine, EveryRankIsReplacedAndTheBitsAreThoseOfAnUndisturbedRun) {
  ChaosRun run({.exchange = "gloo",
                .faults = {"1:46:backward:9", "2:68:hook:9", "0:90:+200:9", "3:112:+1000:9", "1:134:after:9"}});
  run.expect_same_bits();
  EXPECT_GE(count(run.err(), "begins with a new process"), 5u) << run.err();
  run.report("3", 5);
}

TEST(KilledInAnEngine, TwoRanksAtOnceAreReplaced) {
  ChaosRun run({.exchange = "gloo", .faults = {"1:60:backward:9", "2:60:backward:9"}});
  run.expect_same_bits();
  run.report("3", 2);
}

}  // namespace
}  // namespace tutti::testing
