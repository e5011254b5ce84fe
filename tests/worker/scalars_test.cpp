// SPDX-License-Identifier: Apache-2.0
#include "worker/scalars.h"

#include <gmock/gmock.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <utility>

#include "tests/common/event_records.h"
#include "tests/common/temporary_folder.h"

namespace tutti::worker {
namespace {

using namespace std::chrono_literals;
using testing::content_of;
using ::testing::ElementsAre;
using testing::fields_of;
using ::testing::IsEmpty;
using testing::Point;
using testing::points_of;
using testing::whole_records;

constexpr double kBegin = 1'700'000'000;

class ScalarsOfARun : public ::testing::Test {
 protected:
  ScalarsOfARun() { begin(); }

  void begin() {
    auto file = EventFile::create(folder_.path(), "node1", kBegin).value();
    path_ = file->path();
    scalars_ = std::make_unique<Scalars>(std::move(file), clock_, kBegin, metrics_, Logger::none(), "seed = 7\n",
                                         /*histograms_every=*/3);
  }
  void event(EventKind kind, std::uint64_t step = 0) {
    const Event event{.time = clock_.now(), .kind = kind, .step = step};
    metrics_.record(event);
    scalars_->record(event);
  }
  void end_step(std::int64_t step, std::size_t samples = 64) {
    scalars_->end_step(step, samples, [this] { return rates_; });
  }
  /// Steps of a quarter second, of which the training thread waits an eighth.
  void train(std::int64_t from, std::int64_t to) {
    for (std::int64_t step = from; step <= to; ++step) {
      event(EventKind::kIterationBegin, static_cast<std::uint64_t>(step - 1));
      clock_.advance(125ms);
      event(EventKind::kWaitBegin);
      clock_.advance(125ms);
      event(EventKind::kWaitEnd);
      end_step(step);
    }
  }
  std::vector<std::string> records() const { return whole_records(content_of(path_)); }
  std::vector<Point> points() const { return points_of(records()); }
  /// Steps and values of one tag.
  std::vector<std::pair<std::int64_t, double>> points(const std::string& tag) const {
    std::vector<std::pair<std::int64_t, double>> found;
    for (const Point& point : points()) {
      if (point.tag == tag) found.emplace_back(point.step, point.value);
    }
    return found;
  }
  /// Where TensorBoard is to forget what it has from a step on.
  std::vector<std::int64_t> restarts() const {
    std::vector<std::int64_t> steps;
    for (const std::string& record : records()) {
      auto event = fields_of(record);
      if (event.contains(7)) steps.push_back(static_cast<std::int64_t>(testing::little_endian(event[2])));
    }
    return steps;
  }

  const testing::TemporaryFolder folder_;
  ManualClock clock_;
  std::vector<double> rates_ = {0.5};
  std::string path_;
  MetricsCounter metrics_;
  std::unique_ptr<Scalars> scalars_;
};

TEST_F(ScalarsOfARun, FollowTheConfigurationWhichIsThereAtOnce) {
  ASSERT_EQ(records().size(), 2u);
  auto value = fields_of(fields_of(fields_of(records()[1])[5])[1]);
  EXPECT_EQ(value[1], "configuration");
  EXPECT_EQ(fields_of(value[8])[8], "```\nseed = 7\n```\n");
}

TEST_F(ScalarsOfARun, AreWrittenAtTheirStepAndTime) {
  scalars_->log("loss", 4);
  event(EventKind::kIterationBegin, 0);
  clock_.advance(250ms);
  scalars_->log("loss", 2);
  event(EventKind::kIterationBegin, 1);
  clock_.advance(250ms);
  scalars_->log("loss", 1);
  scalars_->finish();
  EXPECT_THAT(points(), ElementsAre(Point{"loss", 0, 4, kBegin}, Point{"loss", 1, 2, kBegin + 0.25},
                                    Point{"loss", 2, 1, kBegin + 0.5}));
}

TEST_F(ScalarsOfARun, ReachTheFileOnceASecond) {
  scalars_->log("loss", 4);
  clock_.advance(999ms);
  scalars_->log("loss", 2);
  EXPECT_THAT(points(), IsEmpty());
  clock_.advance(1ms);
  scalars_->log("loss", 1);
  EXPECT_EQ(points().size(), 3u);
}

TEST_F(ScalarsOfARun, ReachTheFileBeforeTheyAreTooMany) {
  for (int i = 0; i < 2000; ++i) scalars_->log("loss", i);
  EXPECT_GT(points().size(), 1000u);
}

TEST_F(ScalarsOfARun, AverageTheStepsOfHalfASecond) {
  train(1, 5);
  scalars_->finish();
  EXPECT_THAT(points("tutti/samples_per_s"), ElementsAre(std::pair(3, 256.0), std::pair(5, 256.0)));
  EXPECT_THAT(points("tutti/step_s"), ElementsAre(std::pair(3, 0.25), std::pair(5, 0.25)));
  EXPECT_THAT(points("tutti/exposed_s"), ElementsAre(std::pair(3, 0.125), std::pair(5, 0.125)));
}

TEST_F(ScalarsOfARun, AverageTheLastStepsToo) {
  train(1, 4);
  event(EventKind::kIterationBegin, 4);  // which does not come to its end
  clock_.advance(1h);
  scalars_.reset();
  EXPECT_THAT(points("tutti/step_s"), ElementsAre(std::pair(3, 0.25), std::pair(4, 0.25)));
}

TEST_F(ScalarsOfARun, LeaveOutWhatIsNotKnown) {
  end_step(1, 0);
  clock_.advance(1s);
  end_step(2, 0);
  scalars_->finish();
  EXPECT_THAT(points("tutti/step_s"), ElementsAre(std::pair(2, 1.0)));
  EXPECT_THAT(points("tutti/samples_per_s"), IsEmpty());
  EXPECT_THAT(points("tutti/exposed_s"), IsEmpty()) << "nothing was exchanged";
}

TEST_F(ScalarsOfARun, ShowTheLearningRateOfTheirStep) {
  end_step(1);
  rates_ = {0.25};
  clock_.advance(500ms);
  end_step(2);
  scalars_->finish();
  EXPECT_THAT(points("tutti/learning_rate"), ElementsAre(std::pair(1, 0.5), std::pair(2, 0.25)));
}

TEST_F(ScalarsOfARun, ShowALearningRateForEachGroupOfParameters) {
  rates_ = {0.5, 0.125};
  end_step(1);
  scalars_->finish();
  EXPECT_THAT(points("tutti/learning_rate/0"), ElementsAre(std::pair(1, 0.5)));
  EXPECT_THAT(points("tutti/learning_rate/1"), ElementsAre(std::pair(1, 0.125)));
}

TEST_F(ScalarsOfARun, AskForTheNormOfGradientsTwiceASecond) {
  std::vector<std::int64_t> asked;
  for (std::int64_t step = 1; step <= 8; ++step) {
    if (scalars_->ask_gradients(step).norm) asked.push_back(step);
    clock_.advance(200ms);
  }
  EXPECT_THAT(asked, ElementsAre(1, 4, 7));
}

TEST_F(ScalarsOfARun, AskForTheNormLessOftenWhereItTakesLong) {
  EXPECT_TRUE(scalars_->ask_gradients(1).norm);
  scalars_->gradients(1, {.norm = 1, .norm_took = 10ms, .distributions = {}});
  std::vector<std::int64_t> asked;
  for (std::int64_t step = 2; step <= 14; ++step) {
    clock_.advance(200ms);
    if (scalars_->ask_gradients(step).norm) asked.push_back(step);
  }
  EXPECT_THAT(asked, ElementsAre(11)) << "half a percent of the time is 10 ms in two seconds";
}

TEST_F(ScalarsOfARun, AskForDistributionsOfGradientsAsOftenAsConfigured) {
  std::vector<std::int64_t> asked;
  for (std::int64_t step = 1; step <= 8; ++step) {
    if (scalars_->ask_gradients(step).distributions) asked.push_back(step);
  }
  EXPECT_THAT(asked, ElementsAre(3, 6));
}

TEST_F(ScalarsOfARun, ShowTheGradientsOfTheirStep) {
  event(EventKind::kIterationBegin, 4);
  clock_.advance(250ms);
  const Distribution some{.finite = 3, .not_finite = 2, .min = 1, .max = 2, .limits = {1.5, 2}, .counts = {1, 2}};
  scalars_->gradients(5, {.norm = 0.5, .norm_took = {}, .distributions = {{"w", some}, {"b", {.not_finite = 4}}, {"none", {}}}});
  scalars_->finish();
  EXPECT_THAT(restarts(), ElementsAre(5));
  EXPECT_THAT(points(), ElementsAre(Point{"tutti/gradient_norm", 5, 0.5, kBegin + 0.25},
                                    Point{"gradient_not_finite/w", 5, 2, kBegin + 0.25},
                                    Point{"gradient_not_finite/b", 5, 4, kBegin + 0.25}));
  std::vector<std::string> histograms;
  for (const std::string& record : records()) {
    auto value = fields_of(fields_of(fields_of(record)[5])[1]);
    if (value.contains(5)) histograms.push_back(value[1]);
  }
  EXPECT_THAT(histograms, ElementsAre("gradient/w"));
}

TEST_F(ScalarsOfARun, LeaveOutTheNormOfGradientsThatNobodyHas) {
  scalars_->gradients(5, {.norm = std::nullopt, .distributions = {}});
  scalars_->finish();
  EXPECT_THAT(points(), IsEmpty());
}

TEST_F(ScalarsOfARun, SayWhereTheRunBegins) {
  train(1, 3);
  scalars_->finish();
  EXPECT_THAT(restarts(), ElementsAre(1));
}

TEST_F(ScalarsOfARun, SayWhereTheRunGoesOn) {
  train(51, 53);
  scalars_->finish();
  EXPECT_THAT(restarts(), ElementsAre(51));
}

TEST_F(ScalarsOfARun, SayWhereTheRunGoesBack) {
  train(1, 5);
  train(3, 5);
  scalars_->finish();
  EXPECT_THAT(restarts(), ElementsAre(1, 3));
}

}  // namespace
}  // namespace tutti::worker
