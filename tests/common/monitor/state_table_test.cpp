// SPDX-License-Identifier: Apache-2.0
#include "common/monitor/state_table.h"

#include <gmock/gmock.h>

#include <boost/json.hpp>
#include <cstdlib>
#include <ctime>
#include <sstream>

#include "common/monitor/history.h"
#include "common/monitor/state_json.h"
#include "tests/common/monitor/board_driver.h"

namespace tutti::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::Not;

std::string table_of(const BoardDriver& run, std::size_t events = 8, int columns = 1000) {
  return monitor::state_table(monitor::parse_state(monitor::state_json(run.board, 0, run.now()), "").value(), events,
                              columns);
}

/// Times of day are those of Greenwich.
class StateTable : public ::testing::Test {
 protected:
  StateTable() {
    ::setenv("TZ", "UTC", 1);
    ::tzset();
  }
};

TEST_F(StateTable, ShowsARunAsAHeadARowForEachProcessAndItsLastEvents) {
  BoardDriver run(2, 1);
  run.all_join();
  for (const int rank : {0, 1}) {
    Report& report = run.of(worker_at(rank));
    report.usage = {.memory_bytes = 512'000'000, .cpu = 83s, .gpu_memory_bytes = {}, .gpu_utilization = {}};
    report.metrics.waited = 3s * (1 - rank);
    report.position = {.epoch = 0, .epochs = 5, .step = 21, .steps = 100};
    run.trains(worker_at(rank), 0, 11, 100ms);
    run.trains(worker_at(rank), 11, 21, 100ms);
  }
  run.of(worker_at(0)).values = {{"loss", 21, 0, 0.03125}};
  run.reports(worker_at(0));
  run.passed = 125s;
  run.of(server_at(0)).usage = {
      .memory_bytes = 2'500'000'000, .cpu = 4000s, .gpu_memory_bytes = {}, .gpu_utilization = {}};
  run.reports(server_at(0));
  run.is_lost(server_at(0), "killed");
  EXPECT_EQ(table_of(run, 2),
            "20260331-142501-8c1f03  recovering  exchange ps  generation 1  up 2:05\n"
            "epoch 1/5  step 21/100  loss 0.03125  640 samples/s\n"
            "\n"
            "process  host   state    step  step time  waited  others waited  memory      cpu  heard\n"
            "rank 0   node0  working    20     100 ms   3.0 s            0 s  512 MB   83.0 s   2:05\n"
            "rank 1   node1  working    20     100 ms     0 s            0 s  512 MB   83.0 s   2:05\n"
            "shard 0  node0  gone        -          -       -              -  2.5 GB  1:06:40    0 s\n"
            "\n"
            "12:26:40  joined      rank 1 joined\n"
            "12:28:45  lost        shard 0 is gone\n");
}

TEST_F(StateTable, HasAColumnForGpusWhereThereAreSome) {
  BoardDriver run(1);
  run.all_join();
  EXPECT_THAT(table_of(run), Not(HasSubstr("gpu memory")));
  run.of(worker_at(0)).usage.gpu_memory_bytes = 3'400'000'000;
  run.reports(worker_at(0));
  EXPECT_THAT(table_of(run), HasSubstr("gpu memory"));
  EXPECT_THAT(table_of(run), HasSubstr("3.4 GB"));
}

TEST_F(StateTable, SaysWhyARunEnded) {
  BoardDriver run(1);
  run.happens({.what = Happening::What::kEnded, .exit_code = 70, .text = "rank 0 was killed by signal 9"});
  EXPECT_THAT(table_of(run), HasSubstr("ended  exchange ps  generation 1  up 0 s\nrank 0 was killed by signal 9\n"));
}

TEST_F(StateTable, NoEscapeOfAProcessReachesTheTerminal) {
  BoardDriver run(1);
  run.happens(
      {.what = Happening::What::kJoined, .member = worker_at(0), .host = "\x1b[2Jnode", .text = "a\x1b]0;b\x07\n c"});
  run.of(worker_at(0)).values = {{"lo\x1b[31mss\r", 1, 0, 1}};
  run.reports(worker_at(0));
  run.happens({.what = Happening::What::kEnded,
               .exit_code = 1,
               .text = "\xc2\x9b"
                       "31m\x7f"});
  const std::string table = table_of(run);
  for (const char c : table) EXPECT_TRUE(c == '\n' || (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f)) << int{c};
  EXPECT_THAT(table, Not(HasSubstr("\xc2\x9b"))) << "the same in one character";
  EXPECT_THAT(table, HasSubstr("[2Jnode"));
}

TEST_F(StateTable, IsNoWiderThanTheTerminal) {
  BoardDriver run(3);
  run.all_join();
  run.happens({.what = Happening::What::kNotice, .text = std::string(500, 'x')});
  std::istringstream lines(table_of(run, 8, 40));
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 40u) << line;
}

TEST_F(StateTable, OfAnotherVersionsStateIsReadAsFarAsItGoes) {
  const auto state = monitor::parse_state(
      R"({"job":"a","phase":"new","members":[{"role":"worker","rank":"first"}],"curves":{},
          "history":[{"time_s":1e300,"kind":7}],"progress":{"step":"far","left_s":1e300},"values":[]})",
      "");
  ASSERT_TRUE(state);
  EXPECT_THAT(monitor::state_table(*state, 8, 1000), HasSubstr("a  new  exchange   generation -  up -\n"));
}

}  // namespace
}  // namespace tutti::testing
