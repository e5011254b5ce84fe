// SPDX-License-Identifier: Apache-2.0
#include "common/monitor/prometheus_view.h"

#include <gmock/gmock.h>

#include <sstream>

#include "tests/common/monitor/board_driver.h"

namespace tutti::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

std::string metrics_text(const BoardDriver& run, const monitor::Refused& refused = {}) {
  return monitor::PrometheusView(run.board, refused, run.now().time).text();
}

/// The samples whose line begins so.
std::vector<std::string> samples_of(const std::string& text, const std::string& name) {
  std::vector<std::string> samples;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(name) && (line[name.size()] == ' ' || line[name.size()] == '{')) samples.push_back(line);
  }
  return samples;
}

TEST(PrometheusView, OfARunThatBeginsHasItsCountersAtZero) {
  const std::string text = metrics_text(BoardDriver(2, 1));
  EXPECT_THAT(
      samples_of(text, "tutti_evictions_total"),
      ElementsAre("tutti_evictions_total{reason=\"agent_lost\"} 0", "tutti_evictions_total{reason=\"connection\"} 0",
                  "tutti_evictions_total{reason=\"exited\"} 0", "tutti_evictions_total{reason=\"killed\"} 0",
                  "tutti_evictions_total{reason=\"left_early\"} 0", "tutti_evictions_total{reason=\"reported\"} 0",
                  "tutti_evictions_total{reason=\"silent\"} 0", "tutti_evictions_total{reason=\"stuck\"} 0",
                  "tutti_evictions_total{reason=\"unreachable\"} 0"));
  EXPECT_THAT(samples_of(text, "tutti_refused_frames_total"),
              ElementsAre("tutti_refused_frames_total{reason=\"handshake\"} 0",
                          "tutti_refused_frames_total{reason=\"protocol\"} 0",
                          "tutti_refused_frames_total{reason=\"stale_generation\"} 0"));
  for (const char* name : {"tutti_replacements_total", "tutti_lost_steps_total", "tutti_skipped_steps_total",
                           "tutti_checkpoints_total", "tutti_checkpoint_failures_total"})
    EXPECT_THAT(samples_of(text, name), ElementsAre(std::string(name) + " 0"));
  EXPECT_THAT(samples_of(text, "tutti_workers"), ElementsAre("tutti_workers 2"));
  EXPECT_THAT(samples_of(text, "tutti_run_info"),
              ElementsAre("tutti_run_info{run=\"20260331-142501-8c1f03\",exchange=\"ps\"} 1"));
  for (const char* name : {"tutti_up", "tutti_step", "tutti_checkpoint_age_seconds", "tutti_memory_bytes"})
    EXPECT_THAT(samples_of(text, name), IsEmpty()) << name;
}

TEST(PrometheusView, OfASmallRunIsExact) {
  BoardDriver run(1);
  run.all_join();
  Report& report = run.of(worker_at(0));
  report.metrics.bytes_sent = 100;
  report.metrics.bytes_received = 200;
  report.metrics.waited = 1500ms;
  report.metrics.stalled = 250ms;
  report.metrics.exchange_time.add(3ms);
  report.usage = {.memory_bytes = 4096, .cpu = 2s, .gpu_memory_bytes = 8192, .gpu_utilization = 0.75};
  report.values = {{"loss", 3, 0, 0.5}, {"a\"b", 3, 0, 2}};
  run.trains(worker_at(0), 0, 4, 150ms);
  const std::string text = metrics_text(run, {.handshakes = 3, .stale_frames = 4});
  const std::string process = "{host=\"node0\",rank=\"0\",role=\"worker\"}";
  for (const auto& [name, value] :
       std::vector<std::pair<std::string, std::string>>{{"tutti_up", "1"},
                                                        {"tutti_step", "3"},
                                                        {"tutti_staleness_steps", "0"},
                                                        {"tutti_samples_total", "128"},
                                                        {"tutti_pushed_bytes_total", "100"},
                                                        {"tutti_pulled_bytes_total", "200"},
                                                        {"tutti_wait_seconds_total", "1.5"},
                                                        {"tutti_caused_wait_seconds_total", "0"},
                                                        {"tutti_memory_bytes", "4096"},
                                                        {"tutti_cpu_seconds_total", "2"},
                                                        {"tutti_gpu_memory_bytes", "8192"},
                                                        {"tutti_gpu_utilization_ratio", "0.75"}})
    EXPECT_THAT(samples_of(text, name), ElementsAre(name + process + " " + value));
  EXPECT_THAT(text, HasSubstr("# HELP tutti_loss The newest value that rank 0 logged as loss\n"
                              "# TYPE tutti_loss gauge\ntutti_loss 0.5\n"));
  EXPECT_THAT(samples_of(text, "tutti_logged_value"),
              ElementsAre("tutti_logged_value{name=\"a\\\"b\"} 2", "tutti_logged_value{name=\"loss\"} 0.5"));
  EXPECT_THAT(text, HasSubstr("# TYPE tutti_step_seconds histogram\n"));
  const std::string labels = "{host=\"node0\",rank=\"0\",role=\"worker\"";
  EXPECT_THAT(samples_of(text, "tutti_step_seconds_count"), ElementsAre("tutti_step_seconds_count" + process + " 3"));
  EXPECT_THAT(text, HasSubstr("tutti_step_seconds_bucket" + labels + ",le=\"0.1\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("tutti_step_seconds_bucket" + labels + ",le=\"0.2\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("tutti_step_seconds_bucket" + labels + ",le=\"60\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("tutti_step_seconds_bucket" + labels + ",le=\"+Inf\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("tutti_exchange_seconds_count" + labels + ",exchange=\"ps\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("tutti_checkpoint_stall_seconds_total 0.25\n"));
  EXPECT_THAT(text, HasSubstr("tutti_refused_frames_total{reason=\"handshake\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("tutti_refused_frames_total{reason=\"stale_generation\"} 4\n"));
}

TEST(PrometheusView, TellsNothingOfProcessesThatAreGoneButThatTheyWere) {
  BoardDriver run(2, 1);
  run.all_join();
  for (const MemberId& member : {worker_at(0), worker_at(1), server_at(0)}) run.reports(member);
  run.is_lost(worker_at(1), "stuck", 3);
  const std::string text = metrics_text(run);
  EXPECT_THAT(text, Not(HasSubstr("rank=\"1\"")));
  EXPECT_THAT(text, HasSubstr("tutti_up{host=\"node0\",rank=\"0\",role=\"server\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("tutti_evictions_total{reason=\"stuck\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("tutti_workers 2\n"));
}

TEST(PrometheusView, SaysHowFarAWorkerIsBehindAndHowOldTheCheckpointIs) {
  BoardDriver run(2);
  run.all_join();
  run.of(worker_at(0)).metrics.checkpoints = 1;
  run.trains(worker_at(0), 0, 10);
  run.trains(worker_at(1), 0, 8);
  run.passed = 90s;
  const std::string text = metrics_text(run);
  EXPECT_THAT(text, HasSubstr("tutti_staleness_steps{host=\"node1\",rank=\"1\",role=\"worker\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("tutti_checkpoint_age_seconds 90\n"));
  EXPECT_THAT(text, HasSubstr("tutti_checkpoints_total 1\n"));
}

}  // namespace
}  // namespace tutti::testing
