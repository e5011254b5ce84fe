// SPDX-License-Identifier: Apache-2.0
// Losses under the exchange in two stages: two hosts of two workers each, which this machine plays, and two shards.
#include <gmock/gmock.h>

#include <csignal>

#include "tests/chaos/chaos_run.h"
#include "tests/worker/training_run.h"

namespace tutti::testing {
namespace {

ChaosOptions two_hosts(const Strings& faults) {
  ChaosOptions options;
  options.exchange = "shm+ps";
  options.shards = 2;
  options.hosts = 2;
  options.faults = faults;
  return options;
}

void expect_two_stages(ChaosRun& run, std::size_t losses) {
  run.expect_same_bits();
  EXPECT_EQ(value_of(run.run().out(), "exchange"), "shm+ps");
  EXPECT_EQ(value_of(run.run().out(), "steps"), "200");
  EXPECT_EQ(run.replaced(), losses) << run.err();
}

// Ranks 0 and 2 are the first of their hosts: they carry the hosts' sums.
TEST(TwoStages, FirstRankOfAHostIsReplacedWhereverItIsKilled) {
  ChaosRun run(two_hosts({"0:24:forward:9", "2:46:backward:9", "0:68:hook:9", "2:90:+200:9", "0:112:+600:9",
                          "2:134:+1500:9", "0:156:after:9"}));
  run.expect_same_bits();
  EXPECT_GE(run.replaced(), 7u) << run.err();
  run.report("3", 7);
}

TEST(TwoStages, OtherRankOfAHostIsReplacedWhereverItIsKilled) {
  ChaosRun run(two_hosts({"1:24:forward:9", "3:46:backward:9", "1:68:hook:9", "3:90:+200:9", "1:112:+600:9",
                          "3:134:+1500:9", "1:156:stepped:11"}));
  expect_two_stages(run, 7);
  run.report("3", 7);
}

TEST(TwoStages, BothRanksOfAHostAreReplaced) {
  ChaosRun run(two_hosts({"2:60:backward:9", "3:60:backward:9", "0:120:+300:9", "1:120:+300:9"}));
  expect_two_stages(run, 4);
}

TEST(TwoStages, ShardIsReplaced) {
  ChaosOptions options = two_hosts({});
  options.hold_ms = 5;
  ChaosRun run(options);
  ASSERT_TRUE(run.reaches(60)) << run.err();
  const auto servers = run.run().processes(bin_folder() + "/tutti server");
  ASSERT_EQ(servers.size(), 2u);
  run.strike(Role::kServer, -1, servers[1].pid, SIGKILL);
  run.expect_same_bits();
  EXPECT_GE(run.replaced(), 1u) << run.err();
  run.report("4", 1);
}

}  // namespace
}  // namespace tutti::testing
