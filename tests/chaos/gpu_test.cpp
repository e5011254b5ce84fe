// SPDX-License-Identifier: Apache-2.0
// Ranks that are lost inside a collective of NCCL: the survivors abort their communicators, and make one with the
// newcomer. NCCL takes one GPU for each rank.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "tests/chaos/chaos_run.h"
#include "tests/worker/training_run.h"

namespace tutti::testing {
namespace {

int count_gpus() {
  int gpus = 0;
  while (std::filesystem::exists("/dev/nvidia" + std::to_string(gpus))) ++gpus;
  return gpus;
}

TEST(KilledInNccl, EveryRankIsReplacedAndTheBitsAreThoseOfAnUndisturbedRun) {
  const int gpus = count_gpus();
  if (gpus < 2) GTEST_SKIP() << "it needs two GPUs, there are " << gpus;
  ChaosRun run({.exchange = "nccl",
                .workers = 2,
                .faults = {"1:46:backward:9", "0:68:hook:9", "1:90:+200:9", "0:112:+1000:9", "1:134:after:9"}});
  run.expect_same_bits();
  EXPECT_EQ(value_of(run.run().out(), "exchange"), "nccl") << "tutti was built without CUDA";
  EXPECT_GE(run.replaced(), 5u) << run.err();
  run.report("3", 5);
}

}  // namespace
}  // namespace tutti::testing
