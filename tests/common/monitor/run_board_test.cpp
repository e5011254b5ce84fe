// SPDX-License-Identifier: Apache-2.0
#include "common/monitor/run_board.h"

#include <gmock/gmock.h>

#include "tests/common/monitor/board_driver.h"

namespace tutti::testing {
namespace {

using namespace std::chrono_literals;
using monitor::RunBoard;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;
using Phase = RunBoard::Phase;
using What = Happening::What;

TEST(RunBoard, OfARunThatBeginsHasAPlaceForEachProcess) {
  const BoardDriver run(2, 1);
  EXPECT_THAT(run.board.rows(), SizeIs(3));
  EXPECT_EQ(run.board.phase(), Phase::kStarting);
  EXPECT_FALSE(run.board.rows().at(worker_at(1)).is_alive);
  EXPECT_THAT(run.board.history(), IsEmpty());
}

TEST(RunBoard, PhasesFollowTheRun) {
  BoardDriver run(2, 1);
  run.all_join();
  run.reports(worker_at(0));
  EXPECT_EQ(run.board.phase(), Phase::kStarting) << "nobody has made a step";
  run.trains(worker_at(0), 0, 3);
  EXPECT_EQ(run.board.phase(), Phase::kTraining);
  run.is_lost(worker_at(1), "killed", 3);
  EXPECT_EQ(run.board.phase(), Phase::kRecovering);
  run.trains(worker_at(0), 3, 4);
  EXPECT_EQ(run.board.phase(), Phase::kRecovering) << "a place is empty";
  run.joins(worker_at(1), 2);
  run.trains(worker_at(0), 4, 5);
  EXPECT_EQ(run.board.phase(), Phase::kTraining);
  run.happens({.what = What::kStopping, .generation = 2, .text = "the run is asked to stop"});
  run.trains(worker_at(0), 5, 6);
  EXPECT_EQ(run.board.phase(), Phase::kStopping);
  run.happens({.what = What::kLeft, .member = worker_at(1), .generation = 2});
  run.happens({.what = What::kEnded, .generation = 2, .exit_code = 130, .text = "the run was asked to stop"});
  EXPECT_EQ(run.board.phase(), Phase::kEnded);
  EXPECT_EQ(run.board.exit_code(), 130);
  EXPECT_THAT(run.kinds(), ElementsAre("joined", "joined", "joined", "lost", "replaced", "stopping", "ended"));
}

TEST(RunBoard, ARunThatIsAskedToStopIsStoppingAlsoAfterItBeganAgain) {
  BoardDriver run(1);
  run.all_join();
  run.trains(worker_at(0), 0, 3);
  run.happens({.what = What::kStopping, .generation = 1});
  run.happens({.what = What::kRestarted, .generation = 2});
  EXPECT_EQ(run.board.phase(), Phase::kRecovering);
  run.all_join(3);
  run.trains(worker_at(0), 0, 1);
  EXPECT_EQ(run.board.phase(), Phase::kStopping);
}

TEST(RunBoard, AtItsEndNobodyIsAliveAndAFailureHasACause) {
  BoardDriver run(1, 1);
  run.all_join();
  run.happens({.what = What::kEnded, .exit_code = 70, .text = "rank 0 was killed"});
  EXPECT_EQ(run.board.cause(), "rank 0 was killed");
  for (const auto& [member, row] : run.board.rows()) EXPECT_FALSE(row.is_alive) << describe(member);
  BoardDriver well(1);
  well.happens({.what = What::kEnded, .exit_code = 0, .text = "the run ended"});
  EXPECT_EQ(well.board.cause(), "");
}

TEST(RunBoard, CountsReplacementsAndLossesByTheirReason) {
  BoardDriver run(2, 1);
  run.joins(agent_at(0));
  run.all_join();
  run.is_lost(worker_at(1), "killed");
  run.joins(worker_at(1), 2);
  run.is_lost(worker_at(1), "killed");
  run.joins(worker_at(1), 3);
  run.is_lost(server_at(0), "stuck");
  run.joins(server_at(0), 4);
  EXPECT_THAT(run.board.totals().evictions, UnorderedElementsAre(Pair("killed", 2), Pair("stuck", 1)));
  EXPECT_EQ(run.board.totals().replacements, 3u);
  EXPECT_EQ(run.board.generation(), 4u);
  EXPECT_EQ(run.board.rows().at(server_at(0)).generation, 4u);
}

TEST(RunBoard, ASuccessorBeginsWithNothingOfItsPredecessors) {
  BoardDriver run(2);
  run.all_join();
  run.trains(worker_at(1), 0, 100);
  run.is_lost(worker_at(1), "exited", 100);
  run.joins(worker_at(1), 2);
  const RunBoard::Row& row = run.board.rows().at(worker_at(1));
  EXPECT_FALSE(row.report);
  EXPECT_EQ(row.step, 0u);
  EXPECT_EQ(row.host, "node1");
}

TEST(RunBoard, AfterAReplacementWithinAStepNoStepIsLost) {
  BoardDriver run(2);
  run.all_join();
  run.trains(worker_at(0), 0, 17);
  run.trains(worker_at(1), 0, 17);
  run.is_lost(worker_at(1), "killed", 17);
  run.joins(worker_at(1), 2);
  run.trains(worker_at(0), 17, 30);
  run.trains(worker_at(1), 17, 30);
  EXPECT_EQ(run.board.totals().lost_steps, 0u);
  run.is_lost(worker_at(0), "killed", 30);  // rank 0, whose steps are counted, goes itself
  run.joins(worker_at(0), 3);
  run.trains(worker_at(0), 30, 40);
  EXPECT_EQ(run.board.totals().lost_steps, 0u);
}

TEST(RunBoard, StepsSinceTheCheckpointAreLostWhenAllBeginAgain) {
  BoardDriver run(2);
  run.all_join();
  run.trains(worker_at(0), 0, 15);
  run.is_lost(worker_at(1), "killed", 17);  // two steps after rank 0's last report
  run.happens({.what = What::kRestarted, .generation = 2, .step = 17, .text = "all begin again"});
  run.all_join(3);
  run.trains(worker_at(0), 10, 12);
  EXPECT_EQ(run.board.totals().lost_steps, 7u);
  run.trains(worker_at(0), 12, 30);
  EXPECT_EQ(run.board.totals().lost_steps, 7u) << "each is counted once";
}

TEST(RunBoard, StepsThatAnAgentTookWithItAreLostAsFarAsTheRunWas) {
  BoardDriver run(2);
  run.joins(agent_at(1));
  run.all_join();
  run.trains(worker_at(0), 0, 15);
  run.is_lost(agent_at(1), "agent_lost");  // of no step
  run.happens({.what = What::kRestarted, .generation = 2, .step = 17, .text = "all begin again as 1 worker"});
  run.all_join(3);
  run.trains(worker_at(0), 10, 12);
  EXPECT_EQ(run.board.totals().lost_steps, 7u);
}

TEST(RunBoard, StepsThatARankMadeTwiceInPlaceAreLost) {
  BoardDriver run(1);
  run.all_join();
  run.trains(worker_at(0), 0, 20);
  run.trains(worker_at(0), 16, 25);
  EXPECT_EQ(run.board.totals().lost_steps, 4u);
}

TEST(RunBoard, WhoIsEndedToBeginAgainIsNotThereWhateverItStillReports) {
  BoardDriver run(2);
  run.all_join();
  run.trains(worker_at(0), 0, 15);
  run.happens({.what = What::kRestarted, .generation = 2, .text = "all begin again"});
  run.trains(worker_at(0), 15, 16);
  EXPECT_EQ(run.board.phase(), Phase::kRecovering);
  EXPECT_FALSE(run.board.rows().at(worker_at(1)).is_alive);
}

TEST(RunBoard, FollowsTheWorldToFewerAndToMoreWorkers) {
  BoardDriver run(3, 1);
  for (const int agent : {0, 1}) run.joins(agent_at(agent));
  run.all_join();
  run.trains(worker_at(0), 0, 5);
  run.is_lost(agent_at(1), "agent_lost");
  run.happens({.what = What::kRestarted, .generation = 2, .text = "all begin again as 2 workers"});
  run.happens({.what = What::kResized, .generation = 3, .workers = 2, .shards = 1, .text = "2 workers"});
  EXPECT_EQ(run.board.workers(), 2);
  EXPECT_FALSE(run.board.rows().contains(worker_at(2)));
  run.joins(server_at(0), 3);
  for (const int rank : {0, 1}) run.joins(worker_at(rank), 3);
  run.trains(worker_at(0), 0, 5);
  run.trains(worker_at(0), 5, 15, 100ms);
  EXPECT_EQ(run.board.phase(), Phase::kTraining) << "the lost agent is missed by nobody";
  EXPECT_DOUBLE_EQ(run.board.samples_per_s().value(), 2 * 320.0);
  run.happens({.what = What::kResized, .generation = 4, .workers = 4, .shards = 2, .text = "4 workers"});
  EXPECT_EQ(run.board.workers(), 4);
  EXPECT_EQ(run.board.shards(), 2);
  EXPECT_FALSE(run.board.rows().at(worker_at(3)).is_alive);
  EXPECT_FALSE(run.board.rows().at(server_at(1)).is_alive);
  EXPECT_EQ(run.board.phase(), Phase::kRecovering);
}

TEST(RunBoard, WaitsInANewWorldAreThoseOfItsRanks) {
  BoardDriver run(3);
  run.all_join();
  for (const int rank : {0, 1, 2}) run.trains(worker_at(rank), 0, 5);
  run.happens({.what = What::kResized, .generation = 2, .workers = 2, .text = "2 workers"});
  for (const int rank : {0, 1}) run.joins(worker_at(rank), 2);
  for (const std::uint64_t last : {10, 20}) {
    run.of(worker_at(0)).metrics.waited = last * 10ms;
    run.trains(worker_at(0), last - 5, last);
    run.trains(worker_at(1), last - 5, last);
  }
  EXPECT_EQ(run.board.caused_by(1), 100ms);
}

TEST(RunBoard, WaitsForASuccessorWithinTheRunAreItsOwn) {
  BoardDriver run(2);
  run.all_join();
  for (const int rank : {0, 1}) run.trains(worker_at(rank), 0, 100);
  run.is_lost(worker_at(1), "killed", 100);
  run.joins(worker_at(1), 2);
  for (const std::uint64_t last : {110, 120}) {
    run.of(worker_at(0)).metrics.waited = last * 10ms;
    run.trains(worker_at(0), last - 10, last);
    run.trains(worker_at(1), last - 10, last);
  }
  EXPECT_EQ(run.board.caused_by(1), 100ms);
}

TEST(RunBoard, AWaitInAStepThatIsNotOverCountsOnceItIs) {
  BoardDriver run(2);
  run.all_join();
  for (const int rank : {0, 1}) run.trains(worker_at(rank), 0, 10);
  Metrics& waiting = run.of(worker_at(0)).metrics;
  waiting.step = 10;
  waiting.waited += 3s;  // what it waited for is there, and the step goes on
  run.reports(worker_at(0));
  run.trains(worker_at(0), 10, 20);
  run.trains(worker_at(1), 10, 20);
  EXPECT_EQ(run.board.caused_by(1), 3s);
}

TEST(RunBoard, TellsOfCheckpointsAndOfThoseThatFailed) {
  BoardDriver run(2);
  run.all_join();
  Metrics& metrics = run.of(worker_at(0)).metrics;
  metrics.checkpoints = 1;
  metrics.checkpoint_step = 100;
  metrics.checkpoint_time.add(300ms);
  run.passed = 5s;
  run.reports(worker_at(0));
  ASSERT_TRUE(run.board.checkpoint());
  EXPECT_EQ(run.board.checkpoint()->step, 100u);
  EXPECT_EQ(run.board.checkpoint()->time, TimePoint(5s));
  EXPECT_EQ(run.board.checkpoint()->writing, 300ms);
  run.reports(worker_at(0));
  EXPECT_EQ(run.board.totals().checkpoints, 1u) << "nothing new";
  metrics.checkpoints = 4;
  metrics.checkpoints_failed = 2;
  metrics.checkpoint_step = 160;
  for (int i = 0; i < 3; ++i) metrics.checkpoint_time.add(200ms);
  run.reports(worker_at(0));
  EXPECT_EQ(run.board.totals().checkpoints, 4u);
  EXPECT_EQ(run.board.totals().checkpoints_failed, 2u);
  EXPECT_EQ(run.board.checkpoint()->writing, 200ms) << "of one of them";
  EXPECT_THAT(run.kinds(), ElementsAre("joined", "joined", "checkpoint", "checkpoint", "checkpoint_failed"));
  EXPECT_EQ(run.board.history()[2].text, "the checkpoint of step 100 is on the disk");
}

TEST(RunBoard, CheckpointsOfARank0ThatIsReplacedStayCounted) {
  BoardDriver run(2);
  run.all_join();
  run.of(worker_at(0)).metrics.checkpoints = 3;
  run.reports(worker_at(0));
  run.joins(worker_at(0), 2);
  run.of(worker_at(0)).metrics.checkpoints = 1;
  run.reports(worker_at(0));
  EXPECT_EQ(run.board.totals().checkpoints, 4u);
}

TEST(RunBoard, SkippedStepsAreTheRunsNotEachRanks) {
  BoardDriver run(2);
  run.all_join();
  for (const int rank : {0, 1}) {
    run.of(worker_at(rank)).metrics.steps_skipped = 2;
    run.reports(worker_at(rank));
  }
  EXPECT_EQ(run.board.totals().skipped_steps, 2u);
  EXPECT_THAT(run.kinds(), ElementsAre("joined", "joined", "skipped"));
}

TEST(RunBoard, CurvesAreOfWhatRank0DidBetweenTwoReports) {
  BoardDriver run(2);
  run.all_join();
  run.trains(worker_at(0), 0, 11, 100ms);
  Metrics& metrics = run.of(worker_at(0)).metrics;
  metrics.waited += 250ms;
  metrics.exchange_time.add(1ms);
  run.passed = 2s;
  run.trains(worker_at(0), 11, 21, 100ms);
  const auto& curves = run.board.curves();
  ASSERT_TRUE(curves.contains("step_s") && curves.contains("samples_per_s") && curves.contains("exposed"));
  const monitor::CurvePoint step = curves.at("step_s").points().back();
  EXPECT_NEAR(step.value, 0.1, 1e-12);
  EXPECT_EQ(step.step, 21);
  EXPECT_EQ(step.time_s, BoardDriver::kStart + 2);
  EXPECT_NEAR(curves.at("samples_per_s").points().back().value, 640, 1e-9);
  EXPECT_NEAR(curves.at("exposed").points().back().value, 0.25, 1e-12);
  EXPECT_EQ(run.board.rows().at(worker_at(0)).step_s, step.value);
}

TEST(RunBoard, TakesTheNewestOfWhatRank0LoggedAndTheTimeItWasLogged) {
  BoardDriver run(2);
  run.all_join();
  run.passed = 10s;
  run.of(worker_at(0)).values = {{"loss", 1, 2'000'000'000, 0.5}, {"loss", 2, 1'000'000'000, 0.25}};
  run.of(worker_at(1)).values = {{"loss", 1, 0, 77}};
  for (const int rank : {0, 1}) run.reports(worker_at(rank));
  EXPECT_THAT(run.board.values(), ElementsAre(Pair("loss", 0.25)));
  const auto& points = run.board.curves().at("loss").points();
  ASSERT_THAT(points, SizeIs(2));
  EXPECT_EQ(points[0].time_s, BoardDriver::kStart + 8);
  EXPECT_EQ(points[1].step, 2);
}

TEST(RunBoard, NamesThatAreNoTextAreLeftOut) {
  BoardDriver run(1);
  run.all_join();
  run.of(worker_at(0)).values = {{"lo\xff", 1, 0, 1}, {"präzision", 1, 0, 2}};
  run.reports(worker_at(0));
  EXPECT_THAT(run.board.values(), ElementsAre(Pair("präzision", 2)));
}

TEST(RunBoard, IsBoundedWhateverTheProgramLogsAndHappens) {
  BoardDriver run(1);
  run.all_join();
  for (int i = 0; i < 200; ++i) run.of(worker_at(0)).values.push_back({"name" + std::to_string(i), 1, 0, 1});
  for (int i = 0; i < 50; ++i) run.reports(worker_at(0));
  EXPECT_THAT(run.board.values(), SizeIs(64));
  EXPECT_THAT(run.board.curves(), SizeIs(64));
  for (int i = 0; i < 5000; ++i) {
    run.happens({.what = What::kNotice, .text = "line " + std::to_string(i)});
    run.of(worker_at(0)).values = {{"name0", i, 0, 1}};
    run.reports(worker_at(0));
  }
  EXPECT_THAT(run.board.history(), SizeIs(1000));
  EXPECT_EQ(run.board.history().back().text, "line 4999");
  EXPECT_LT(run.board.curves().at("name0").points().size(), 2000u);
}

TEST(RunBoard, NumbersPointsAndLinesInTheOrderTheyCome) {
  BoardDriver run(1);
  run.all_join();
  run.of(worker_at(0)).values = {{"loss", 1, 0, 1}};
  run.reports(worker_at(0));
  run.happens({.what = What::kNotice, .text = "after it"});
  EXPECT_EQ(run.board.history()[0].number, 1u);
  EXPECT_EQ(run.board.curves().at("loss").points()[0].number, 2u);
  EXPECT_EQ(run.board.history()[1].number, 3u);
  EXPECT_EQ(run.board.newest(), 3u);
}

TEST(RunBoard, TheStepThatTheCoordinatorKnowsIsNewerThanTheReports) {
  BoardDriver run(2);
  run.all_join();
  run.trains(worker_at(0), 0, 10);
  run.board.set_steps({{worker_at(0), 15}, {worker_at(1), 14}, {worker_at(9), 99}});
  EXPECT_EQ(run.board.rows().at(worker_at(0)).step, 15u);
  EXPECT_EQ(run.board.furthest_step(), 15u);
  run.board.set_steps({{worker_at(0), 3}});
  EXPECT_EQ(run.board.rows().at(worker_at(0)).step, 15u);
  EXPECT_FALSE(run.board.rows().contains(worker_at(9)));
}

}  // namespace
}  // namespace tutti::testing
