// SPDX-License-Identifier: Apache-2.0
#include "common/monitor/state_json.h"

#include <gmock/gmock.h>

#include <boost/json.hpp>
#include <limits>

#include "common/monitor/history.h"
#include "tests/common/monitor/board_driver.h"

namespace tutti::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using What = Happening::What;
namespace json = boost::json;

json::object state_of(const BoardDriver& run, std::uint64_t after = 0) {
  auto state = monitor::parse_state(monitor::state_json(run.board, after, run.now()), "the state");
  EXPECT_TRUE(state) << state.error().text();
  return state ? std::move(*state) : json::object();
}

TEST(StateJson, OfARunThatBeginsHasEveryFieldAndKnowsNothing) {
  const json::object state = state_of(BoardDriver(1, 1));
  for (const char* key : {"version", "job",        "program", "exchange", "tutti",      "phase",    "exit_code",
                          "cause",   "generation", "workers", "shards",   "started_s",  "now_s",    "progress",
                          "values",  "members",    "curves",  "history",  "checkpoint", "commands", "config"})
    EXPECT_TRUE(state.contains(key)) << key;
  EXPECT_EQ(state.at("phase"), "starting");
  EXPECT_TRUE(state.at("exit_code").is_null());
  const json::object& worker = state.at("members").at(0).as_object();
  for (const char* key :
       {"step_s", "computing_s", "data_s", "checkpoint_s", "gpu_memory_bytes", "gpu_utilization", "heard_s"})
    EXPECT_TRUE(worker.at(key).is_null()) << key;
  EXPECT_EQ(worker.at("activity"), "");
  for (const char* key : {"epoch", "epochs", "steps", "samples_per_s", "exposed", "left_s"})
    EXPECT_TRUE(state.at("progress").at(key).is_null()) << key;
  for (const char* key : {"last_step", "age_s", "write_s"})
    EXPECT_TRUE(state.at("checkpoint").at(key).is_null()) << key;
  EXPECT_EQ(state.at("commands"), (json::object{{"checkpoint", false}, {"stop", false}}));
}

TEST(StateJson, TellsWhatAWorkerDidWithItsTime) {
  BoardDriver run(1);
  run.all_join();
  run.passed = 1s;
  Report& report = run.of(worker_at(0));
  report.metrics.trained = 10s;
  report.metrics.waited = 2s;
  report.metrics.between = 1s;
  report.metrics.stalled = 500ms;
  report.metrics.bytes_sent = 12;
  report.metrics.bytes_received = 34;
  report.usage = {.memory_bytes = 5'000'000, .cpu = 7s, .gpu_memory_bytes = 6, .gpu_utilization = 0.5};
  report.position = {.epoch = 1, .epochs = 5, .step = 20, .steps = 120};
  run.trains(worker_at(0), 0, 20, 100ms);
  run.passed = 1500ms;
  const json::object state = state_of(run);
  const json::object& worker = state.at("members").at(0).as_object();
  EXPECT_EQ(worker.at("host"), "node0");
  EXPECT_EQ(worker.at("activity"), "working");
  EXPECT_EQ(worker.at("waited_s"), 2.0);
  EXPECT_EQ(worker.at("computing_s"), 6.5);
  EXPECT_EQ(worker.at("data_s"), 1.0);
  EXPECT_EQ(worker.at("checkpoint_s"), 0.5);
  EXPECT_EQ(worker.at("samples"), 640);
  EXPECT_EQ(worker.at("sent_bytes"), 12);
  EXPECT_EQ(worker.at("received_bytes"), 34);
  EXPECT_EQ(worker.at("cpu_s"), 7.0);
  EXPECT_EQ(worker.at("gpu_memory_bytes"), 6);
  EXPECT_EQ(worker.at("gpu_utilization"), 0.5);
  EXPECT_EQ(worker.at("heard_s"), 0.5);
  EXPECT_NEAR(worker.at("step_s").as_double(), 0.1, 1e-12);
  const json::value& progress = state.at("progress");
  EXPECT_EQ(progress.at("epoch"), 2) << "people count from 1";
  EXPECT_EQ(progress.at("step"), 20);
  EXPECT_NEAR(progress.at("left_s").as_double(), 10, 1e-9);
  EXPECT_EQ(state.at("commands"), (json::object{{"checkpoint", true}, {"stop", true}}));
  report.metrics.is_waiting = true;
  run.reports(worker_at(0));
  EXPECT_EQ(state_of(run).at("members").at(0).at("activity"), "waiting");
}

TEST(StateJson, ThereIsNothingToSaveToWithoutAFolder) {
  monitor::RunFacts facts = facts_of(1);
  facts.can_save = false;
  monitor::RunBoard board(facts, {});
  board.happened({.what = What::kJoined, .member = worker_at(0)}, {});
  Report report;
  report.metrics.iterations = 1;
  board.heard(worker_at(0), report, {});
  const auto state = monitor::parse_state(monitor::state_json(board, 0, {}), "").value();
  EXPECT_EQ(state.at("commands"), (json::object{{"checkpoint", false}, {"stop", true}}));
}

TEST(StateJson, ALaterOneHasOnlyWhatIsNewAndNoConfiguration) {
  BoardDriver run(1);
  run.all_join();
  run.of(worker_at(0)).values = {{"loss", 1, 0, 0.5}, {"accuracy", 1, 0, 0.1}};
  run.reports(worker_at(0));
  const std::uint64_t seen = run.board.newest();
  run.of(worker_at(0)).values = {{"loss", 2, 0, 0.25}};
  run.reports(worker_at(0));
  run.happens({.what = What::kNotice, .generation = 1, .step = 2, .text = "news"});
  const json::object state = state_of(run, seen);
  EXPECT_FALSE(state.contains("config"));
  EXPECT_EQ(json::serialize(state.at("curves")), R"({"loss":[[1.77496E9,2,2.5E-1]]})");
  ASSERT_EQ(state.at("history").as_array().size(), 1u);
  EXPECT_EQ(state.at("history").at(0).at("text"), "news");
  EXPECT_TRUE(state.at("history").at(0).at("rank").is_null());
  EXPECT_EQ(state.at("members").as_array().size(), 1u) << "the rest is whole";
  EXPECT_EQ(state.at("values").as_object().size(), 2u);
  EXPECT_EQ(state_of(run).at("curves").at("loss").as_array().size(), 2u);
  EXPECT_EQ(state_of(run).at("config"), "workers = 2\n");
}

TEST(StateJson, NumbersThatAreNoneAreNull) {
  BoardDriver run(1);
  run.all_join();
  run.of(worker_at(0)).values = {{"loss", 1, 0, std::numeric_limits<double>::quiet_NaN()},
                                 {"norm", 1, 0, std::numeric_limits<double>::infinity()}};
  run.reports(worker_at(0));
  const json::object state = state_of(run);
  EXPECT_TRUE(state.at("values").at("loss").is_null());
  EXPECT_TRUE(state.at("values").at("norm").is_null());
  EXPECT_TRUE(state.at("curves").at("loss").at(0).at(2).is_null());
}

TEST(StateJson, IsValidWhateverBytesAProcessWroteLast) {
  BoardDriver run(1);
  run.all_join();
  run.happens({.what = What::kEnded, .exit_code = 70, .text = "last words: \xff\xfe \x01 \"quoted\" \xc3"});
  const json::object state = state_of(run);
  EXPECT_EQ(state.at("cause"), "last words: ?? \x01 \"quoted\" ?");
  EXPECT_EQ(state.at("history").at(1).at("text"), state.at("cause"));
}

TEST(StateJson, IsValidWhateverBytesTheProgramsArgumentsAre) {
  monitor::RunFacts facts = facts_of(1);
  facts.program = "./train \xff";
  facts.configuration = "program = [\"./train\", \"\xff\"]\n";
  const monitor::RunBoard board(facts, {});
  const auto state = monitor::parse_state(monitor::state_json(board, 0, {}), "the state");
  ASSERT_TRUE(state) << state.error().text();
  EXPECT_EQ(state->at("program"), "./train ?");
  EXPECT_EQ(state->at("config"), "program = [\"./train\", \"?\"]\n");
}

TEST(StateJson, NamesRolesPhasesAndKinds) {
  BoardDriver run(1, 1);
  run.joins(agent_at(0));
  run.all_join();
  run.is_lost(worker_at(0), "killed", 7);
  run.happens({.what = What::kRestarted, .generation = 2, .text = "all begin again"});
  const json::object state = state_of(run);
  EXPECT_EQ(state.at("phase"), "recovering");
  std::string roles;
  for (const json::value& member : state.at("members").as_array())
    roles += std::string(member.at("role").as_string()) + " ";
  EXPECT_EQ(roles, "worker server agent ");
  const json::value& loss = state.at("history").at(3);
  EXPECT_EQ(loss.at("kind"), "lost");
  EXPECT_EQ(loss.at("role"), "worker");
  EXPECT_EQ(loss.at("rank"), 0);
  EXPECT_EQ(loss.at("step"), 7);
  EXPECT_EQ(state.at("history").at(4).at("kind"), "restarted");
}

}  // namespace
}  // namespace tutti::testing
