// SPDX-License-Identifier: Apache-2.0
// Runs that are looked at and asked for something while they train.
#include "tests/worker/watched_run.h"

#include <gmock/gmock.h>

#include <csignal>

namespace tutti::testing {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
namespace fs = std::filesystem;
namespace json = boost::json;

constexpr std::chrono::seconds kWatchedStop{20};

/// Steps long enough to ask in the middle of the run, and a line for each.
const Strings kWatchedSteps{"--hold-ms", "100"};
const std::vector<Strings> kWatchedExchanges{{"exchange=ps", "shards=1"}, {"exchange=shm"}};

void reach_step_4(const RunTutti& run) {
  ASSERT_TRUE(run.wait_for_output("step 4/20", kPatience)) << run.out() << run.err();
}

json::object history_of(const RunTutti& run) {
  auto state = monitor::read_history(job_folder(run));
  EXPECT_TRUE(state) << state.error().text();
  return state ? std::move(*state) : json::object();
}

std::size_t entries_in(const fs::path& folder) {
  std::error_code ignored;
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder, ignored), fs::directory_iterator()));
}

// --- asked to save

void expect_one_checkpoint(RunTutti& run, const std::string& folder) {
  reach_step_4(run);
  const auto [status, body] = post(PageAddress(run), "/checkpoint");
  EXPECT_THAT(status, HasSubstr("202")) << body;
  EXPECT_EQ(hash_of(run), reference_hash(2));
  EXPECT_EQ(entries_in(folder), 1u);
  const json::object state = history_of(run);
  EXPECT_EQ(state.at("checkpoint").at("taken"), 1);
  EXPECT_EQ(state.at("checkpoint").at("failed"), 0);
  EXPECT_EQ(state.at("phase"), "ended");
}

TEST(WatchedRun, ThatIsAskedToSaveSavesOnceAndGoesOnToTheSameBits) {
  for (const Strings& exchange : kWatchedExchanges) {
    RunTutti place = scratch();
    const std::string folder = place.folder() + "/checkpoints";
    RunTutti run(managed(2, exchange + Strings{"progress_s=0", "checkpoint_dir=" + folder}, kWatchedSteps));
    expect_one_checkpoint(run, folder);
  }
}

TEST(WatchedRun, OfRanksOfMpirunThatIsAskedToSaveSavesOnce) {
  RunTutti place = scratch();
  const std::string folder = place.folder() + "/checkpoints";
  RunTutti run(embedded(2, {{"TUTTI_PROGRESS_S", "0"}, {"TUTTI_CHECKPOINT_DIR", folder}}, kWatchedSteps));
  expect_one_checkpoint(run, folder);
}

TEST(WatchedRun, WithoutAFolderForCheckpointsIsNotAskedToSave) {
  RunTutti run(managed(2, {"exchange=shm", "progress_s=0"}, kWatchedSteps));
  reach_step_4(run);
  const auto [status, body] = post(PageAddress(run), "/checkpoint");
  EXPECT_THAT(status, HasSubstr("409"));
  EXPECT_THAT(body, HasSubstr("checkpoint_dir"));
}

// --- asked to stop

void expect_stop_and_resumption(RunTutti& run, const std::string& folder) {
  reach_step_4(run);
  const auto [status, body] = post(PageAddress(run), "/stop");
  EXPECT_THAT(status, HasSubstr("202")) << body;
  EXPECT_EQ(run.wait(kWatchedStop), 130) << run.err();
  EXPECT_THAT(run.out(), Not(HasSubstr("hash="))) << "it came to its end";
  RunTutti resumed(managed(2, {}, {"--checkpoint", folder, "--resume"}));
  EXPECT_EQ(hash_of(resumed), reference_hash(2));
}

TEST(WatchedRun, ThatIsAskedToStopGoesOnToTheSameBitsWhenItIsStartedAgain) {
  for (const Strings& exchange : kWatchedExchanges) {
    RunTutti place = scratch();
    const std::string folder = place.folder() + "/checkpoints";
    RunTutti run(managed(2, exchange + Strings{"progress_s=0"}, kWatchedSteps + Strings{"--checkpoint", folder}));
    expect_stop_and_resumption(run, folder);
    const json::object state = history_of(run);
    EXPECT_EQ(state.at("phase"), "ended");
    EXPECT_EQ(state.at("exit_code"), 130);
    EXPECT_EQ(state.at("cause"), "the run was asked to stop");
    EXPECT_EQ(run.leftovers(std::chrono::seconds(5)), "");
  }
}

TEST(WatchedRun, OfRanksOfMpirunThatIsAskedToStopDoesTheSame) {
  RunTutti place = scratch();
  const std::string folder = place.folder() + "/checkpoints";
  RunTutti run(embedded(2, {{"TUTTI_PROGRESS_S", "0"}}, kWatchedSteps + Strings{"--checkpoint", folder}));
  expect_stop_and_resumption(run, folder);
}

// --- looked at

TEST(WatchedRun, SaysWhereItsPageIs) {
  RunTutti run(managed(2, {"exchange=shm", "progress_s=0"}, kWatchedSteps));
  reach_step_4(run);
  EXPECT_THAT(run.err(), HasSubstr("; page: " + PageAddress(run).url + "\n"));
  RunTutti ranks(embedded(2, {{"TUTTI_PROGRESS_S", "0"}}, kWatchedSteps));
  reach_step_4(ranks);
  EXPECT_THAT(ranks.err(), HasSubstr("page: " + PageAddress(ranks).url));
}

TEST(WatchedRun, StatusShowsItWhileItTrainsAndWhenItHasEnded) {
  RunTutti run(managed(2, {"exchange=ps", "shards=1", "progress_s=0"}, {"--hold-ms", "200"}));
  reach_step_4(run);
  const std::string folder = job_folder(run), job = fs::path(folder).filename();
  const std::string url = PageAddress(run).url;
  ASSERT_TRUE(eventually(kPatience, [&] {
    const auto state = monitor::http_get(url, "/state.json", kPatience);
    return state && monitor::parse_state(*state, url).value().at("phase") == "training";
  })) << "its ranks report once a second";
  const std::string live = output_of({"status", folder});
  EXPECT_THAT(live, StartsWith(job + "  training  exchange ps  generation 1  up "));
  EXPECT_THAT(live, AllOf(HasSubstr("rank 0 "), HasSubstr("rank 1 "), HasSubstr("shard 0 "), HasSubstr("agent 0 ")));
  EXPECT_THAT(output_of({"status", url}), StartsWith(job + "  training"));
  EXPECT_THAT(output_of({"status", "--log-dir", run.folder() + "/runs"}), StartsWith(job + "  training"))
      << "the newest";
  EXPECT_THAT(output_of({"status", "--log-dir", run.folder() + "/runs", job}), StartsWith(job + "  training"));
  const std::string link = run.folder() + "/latest";
  fs::create_directory_symlink(folder, link);
  EXPECT_THAT(output_of({"status", link}), StartsWith(job + "  training"));
  EXPECT_EQ(hash_of(run).size(), 64u);
  const std::string over = output_of({"status", folder + "/"});
  EXPECT_THAT(over, StartsWith(job + "  ended"));
  EXPECT_THAT(over, AllOf(HasSubstr("step 20/20"), HasSubstr("the run ended")));
  EXPECT_THAT(output_of({"status", "--log-dir", run.folder() + "/tmp"}, 64), HasSubstr("there is no run in "));
}

TEST(WatchedRun, StatusOfOneThatWasCutOffSaysSoAlsoWhenAnotherHasItsPort) {
  RunTutti run(managed(2, {"exchange=shm", "progress_s=0"}, kWatchedSteps));
  reach_step_4(run);
  const std::string folder = job_folder(run), job = fs::path(folder).filename();
  const PageAddress page(run);
  // Its last words: a second of the run.
  ASSERT_TRUE(eventually(kPatience, [&] { return history_of(run).at("curves").as_object().contains("loss"); }));
  for (const MarkedProcess& process : run.processes()) ::kill(process.pid, SIGKILL);
  ASSERT_EQ(run.leftovers(std::chrono::seconds(10)).find("process"), std::string::npos);
  const auto expect_cut_off = [&] {
    const std::string status = output_of({"status", folder});
    EXPECT_THAT(status, StartsWith(job + "  cut off"));
    EXPECT_THAT(status, ContainsRegex("rank 0 .*gone"));
  };
  expect_cut_off();
  RunTutti another(
      managed(2, {"exchange=shm", "progress_s=0", "monitor_port=" + std::to_string(page.port)}, kWatchedSteps));
  reach_step_4(another);
  EXPECT_EQ(PageAddress(another).url, page.url);
  expect_cut_off();
}

TEST(WatchedRun, ReportOfOneAndOfTwoRunsIsWholeInItself) {
  RunTutti first(managed(2, {"exchange=shm"})), second(managed(2, {"exchange=ps", "shards=1"}));
  for (RunTutti* run : {&first, &second}) (void)hash_of(*run);
  const auto report_of = [&](const Strings& folders) {
    const std::string path = first.folder() + "/report.html";
    EXPECT_EQ(output_of(Strings{"report", "--out", path} + folders), path + "\n");
    std::ifstream file(path);
    return std::string{std::istreambuf_iterator<char>(file), {}};
  };
  const std::string one = report_of({job_folder(first)}), two = report_of({job_folder(first), job_folder(second)});
  for (const std::string& page : {one, two}) {
    EXPECT_THAT(page, StartsWith("<!DOCTYPE html>"));
    EXPECT_THAT(page, AllOf(HasSubstr(fs::path(job_folder(first)).filename().string()), HasSubstr("\"loss\":[[")));
    for (const char* link : {"src=", "href=\"h", "@import", "url(h", "fetch("}) EXPECT_THAT(page, Not(HasSubstr(link)));
  }
  EXPECT_THAT(two, HasSubstr(fs::path(job_folder(second)).filename().string()));
  EXPECT_EQ(output_of({"report", job_folder(first)}), job_folder(first) + "/report.html\n");
  EXPECT_THAT(output_of({"report", first.folder()}, 65), HasSubstr("expected the folder of a run that was watched"));
}

TEST(WatchedRun, WithoutAPageThereIsNothingOfIt) {
  RunTutti run(managed(2, {"exchange=shm", "progress_s=0", "monitor_port=-1"}, kWatchedSteps));
  reach_step_4(run);
  EXPECT_THAT(run.err(), Not(HasSubstr("page:")));
  for (const char* file : {monitor::kAddressFile, monitor::kHistoryFile})
    EXPECT_FALSE(fs::exists(job_folder(run) + "/" + file)) << file;
  RunTutti watched(managed(2, {"exchange=shm", "progress_s=0"}, kWatchedSteps));
  reach_step_4(watched);
  EXPECT_EQ(listening_of(run.processes()).size() + 1, listening_of(watched.processes()).size());
  RunTutti ranks(embedded(2, {{"TUTTI_PROGRESS_S", "0"}, {"TUTTI_MONITOR_PORT", "-1"}}));
  EXPECT_EQ(hash_of(ranks), reference_hash(2));
  EXPECT_THAT(ranks.err(), Not(HasSubstr("page:")));
  EXPECT_EQ(job_folder(ranks), "") << "an embedded run has no folder for anything else";
}

TEST(WatchedRun, DoesNotBeginWhereItsPortIsTaken) {
  RunTutti holder(managed(2, {"exchange=shm", "progress_s=0"}, kWatchedSteps));
  reach_step_4(holder);
  const std::string port = std::to_string(PageAddress(holder).port);
  RunTutti run(managed(2, {"monitor_port=" + port}));
  EXPECT_EQ(run.wait(kPatience), 69) << run.err();
  const auto names_it = AllOf(HasSubstr("monitor_port"), HasSubstr("127.0.0.1:" + port));
  EXPECT_THAT(run.err(), names_it);
  EXPECT_THAT(run.out(), Not(HasSubstr("hash=")));
  RunTutti ranks(embedded(2, {{"TUTTI_MONITOR_PORT", port}}));
  EXPECT_EQ(ranks.wait(kPatience), 69) << ranks.err();
  EXPECT_THAT(ranks.err(), names_it);
}

TEST(WatchedRun, SummaryNamesTheRankThatTheOthersWaitFor) {
  for (const Strings& exchange : kWatchedExchanges) {
    RunTutti run(managed(2, exchange + Strings{"progress_s=0"},
                         kWatchedSteps + Strings{"--variant-rank", "1", "--slow-ms", "60"}));
    EXPECT_EQ(hash_of(run), reference_hash(2));
    EXPECT_THAT(run.out() + run.err(),
                ContainsRegex("  slowest: rank 1 on [^ ]+: it waited [0-9]+ % of the time, the other"));
    const json::object state = history_of(run);
    double waits[2] = {};
    for (const json::value& member : state.at("members").as_array()) {
      if (member.at("role") == "worker")
        waits[member.at("rank").as_int64()] = member.at("caused_wait_s").to_number<double>();
    }
    EXPECT_GT(waits[1], waits[0]);
  }
}

}  // namespace
}  // namespace tutti::testing
