// SPDX-License-Identifier: Apache-2.0
#include "worker/progress.h"

#include <gmock/gmock.h>

#include <memory>
#include <numeric>
#include <regex>

namespace tutti::worker {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

/// A training of rank 0 in a time of the test's own.
class ProgressTest : public ::testing::Test {
 protected:
  Progress progress(Duration interval = 1s) {
    return {clock_,
            interval,
            *metrics_,
            {[this](const std::string& text) { said_.push_back("status: " + text); },
             [this](const std::string& line) { said_.push_back(line); }}};
  }
  void record(EventKind kind, std::uint64_t bytes = 0) {
    Event event;
    event.kind = kind;
    event.time = clock_.now();
    event.bytes = bytes;
    metrics_->record(event);
  }
  /// A step of 1 s: 0.1 s for the data, then 0.9 s of which so much is waited.
  void step(Progress& progress, std::int64_t number, std::int64_t steps, Duration waited = 0s) {
    clock_.advance(100ms);
    record(EventKind::kIterationBegin);
    clock_.advance(900ms - waited);
    record(EventKind::kWaitBegin);
    clock_.advance(waited);
    record(EventKind::kWaitEnd);
    if (waited > 0s) record(EventKind::kExchangeDone);
    record(EventKind::kIterationEnd);
    progress.advance({0, 1, number, steps}, 64);
  }
  std::vector<std::string> said() { return std::exchange(said_, {}); }

  ManualClock clock_;
  std::unique_ptr<MetricsCounter> metrics_ = std::make_unique<MetricsCounter>();
  std::vector<std::string> said_;
};

TEST_F(ProgressTest, SaysOncePerIntervalWhatIsNew) {
  Progress shown = progress(2s);
  for (int number = 1; number <= 5; ++number) {
    shown.log("loss", 1.0 / number);
    step(shown, number, 100);
  }
  EXPECT_THAT(said(), ElementsAre("status: epoch 1/1  step 3/100  loss 0.3333  64 samples/s  1:37 left",
                                  "status: epoch 1/1  step 5/100  loss 0.2  64 samples/s  1:35 left"));
}

TEST_F(ProgressTest, TheLastStepsLineStays) {
  Progress shown = progress(1h);
  step(shown, 1, 2);
  step(shown, 2, 2);
  EXPECT_THAT(said(), ElementsAre("epoch 1/1  step 2/2  64 samples/s"));
}

TEST_F(ProgressTest, NamesThePartOfTheIntervalThatWasWaited) {
  Progress shown = progress();
  step(shown, 1, 100, 500ms);
  step(shown, 2, 100, 120ms);
  step(shown, 3, 100, 800ms);
  const auto lines = said();
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_THAT(lines[0], HasSubstr("  exposed 12 %"));
  EXPECT_THAT(lines[1], HasSubstr("  exposed 80 %"));
}

TEST_F(ProgressTest, NothingIsExposedWhereNothingIsExchanged) {
  Progress shown = progress();
  step(shown, 1, 100);
  step(shown, 2, 100);
  EXPECT_THAT(said(), ElementsAre(Not(HasSubstr("exposed"))));
}

TEST_F(ProgressTest, TellsTheTimeLeftInItsUnits) {
  Progress shown = progress();
  step(shown, 1, 1000);
  step(shown, 2, 14);
  step(shown, 3, 128);
  step(shown, 4, 5029);
  const auto lines = said();
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_THAT(lines[0], HasSubstr("  12 s left"));
  EXPECT_THAT(lines[1], HasSubstr("  2:05 left"));
  EXPECT_THAT(lines[2], HasSubstr("  1:23:45 left"));
}

TEST_F(ProgressTest, TheTimeLeftFollowsThePaceOfTheLastIntervals) {
  Progress shown = progress();
  for (int number = 1; number <= 20; ++number) step(shown, number, 100);
  for (int number = 21; number <= 30; ++number) {
    clock_.advance(1s);  // from here on a step takes two
    step(shown, number, 100);
  }
  EXPECT_THAT(said().back(), HasSubstr("  2:20 left"));
}

TEST_F(ProgressTest, IsSilentWhereNothingIsShown) {
  Progress silent(clock_, 0s, *metrics_, {});
  silent.log("loss", 1);
  step(silent, 1, 2);
  step(silent, 2, 2);
  silent.clear();
  silent.finish();
  EXPECT_THAT(said(), IsEmpty());
}

TEST_F(ProgressTest, SummaryNamesWhatTheRunWas) {
  Progress shown = progress(1h);
  shown.log("loss", 0.03125);
  shown.log("accuracy", 0.974);
  for (int number = 1; number <= 4; ++number) step(shown, number, 4, 200ms);
  record(EventKind::kChunkSent, 1'234'000'000);
  record(EventKind::kChunkReceived, 5600);
  record(EventKind::kMemberJoined);
  record(EventKind::kStepSkipped);
  record(EventKind::kStepSkipped);
  said();
  shown.finish();
  shown.finish();
  EXPECT_THAT(said(),
              ElementsAre("status: ", "summary: 4 steps in 3.9 s (1 steps/s, 66 samples/s)",
                          "  loss 0.03125, accuracy 0.974", "  time: 71 % computing, 21 % waiting for others, 8 % data",
                          "  moved: 1.23 GB sent, 5.6 kB received", "  faults: 1 process replaced, 2 steps skipped"));
}

TEST_F(ProgressTest, SummaryIsShortWhereThereIsLittleToSay) {
  Progress shown = progress(1h);
  step(shown, 1, 2);
  step(shown, 2, 2);
  said();
  shown.finish();
  EXPECT_THAT(said(), ElementsAre("status: ", "summary: 2 steps in 1.9 s (1.1 steps/s, 67 samples/s)",
                                  "  time: 95 % computing, 5 % data"));
}

TEST_F(ProgressTest, ThereIsNoSummaryOfWhatWasNotShown) {
  Progress shown = progress(1h);
  step(shown, 1, 100);
  step(shown, 2, 100);
  shown.finish();
  EXPECT_THAT(said(), IsEmpty());
}

TEST_F(ProgressTest, PartsOfTheTimeAddUpToAHundredPerCent) {
  for (int waited = 0; waited < 900; waited += 7) {
    metrics_ = std::make_unique<MetricsCounter>();
    Progress shown = progress(0s);
    for (int number = 1; number <= 3; ++number) {
      step(shown, number, 3, std::chrono::milliseconds(waited));
      record(EventKind::kCheckpointBegin);
      clock_.advance(std::chrono::milliseconds(waited % 31));
      record(EventKind::kCheckpointTaken);
    }
    said();
    shown.finish();
    const std::string line = said().at(2);
    const std::regex part("([0-9]+) %");
    const int sum = std::accumulate(std::sregex_iterator(line.begin(), line.end(), part), std::sregex_iterator(), 0,
                                    [](int so_far, const std::smatch& match) { return so_far + std::stoi(match[1]); });
    EXPECT_EQ(sum, 100) << line;
  }
}

TEST(DescribeSlowest, NamesTheRankThatWaitsLeastWhereItIsApart) {
  EXPECT_EQ(describe_slowest({"0.25 nodeA", "0.02 nodeB", "0.22 nodeB"}),
            "rank 1 on nodeB: it waited 2 % of the time, the others 22 to 25 %");
  EXPECT_EQ(describe_slowest({"0.251 nodeA", "0.249 nodeB", "0 nodeC"}),
            "rank 2 on nodeC: it waited 0 % of the time, the others 25 %");
  EXPECT_EQ(describe_slowest({"0.1 nodeA", "0.4 nodeB"}),
            "rank 0 on nodeA: it waited 10 % of the time, the other 40 %");
}

TEST(DescribeSlowest, SaysNothingWhereTheRanksAreAboutAsFast) {
  EXPECT_EQ(describe_slowest({"0.25 a", "0.23 b", "0.26 c"}), "");
  EXPECT_EQ(describe_slowest({"0.02 a", "0.03 b", "0.5 c"}), "") << "two are slow: neither is the one";
  EXPECT_EQ(describe_slowest({"0.3 a"}), "");
  EXPECT_EQ(describe_slowest({}), "");
}

}  // namespace
}  // namespace tutti::worker
