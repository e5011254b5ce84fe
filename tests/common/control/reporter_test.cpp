// SPDX-License-Identifier: Apache-2.0
#include "common/control/reporter.h"

#include <gmock/gmock.h>

#include "tests/common/net/loopback.h"

namespace tutti::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::SizeIs;

class ReporterTest : public ::testing::Test {
 protected:
  std::unique_ptr<Reporter> reporter_every(Duration period) {
    return std::make_unique<Reporter>(
        loop_, metrics_, clock_,
        [this](std::string bytes) {
          EXPECT_TRUE(loop_.on_loop());
          sizes_.put(bytes.size());
          reports_.put(decode<Report>(std::as_bytes(std::span(bytes))).value());
        },
        Reporter::Options{.period = period});
  }
  /// The one that it sends when it goes.
  Report last_of(std::unique_ptr<Reporter> reporter) {
    reporter.reset();
    EXPECT_EQ(reports_.size(), 1u);
    return reports_.take().value();
  }

  Loop loop_;
  MetricsCounter metrics_;
  ManualClock clock_;
  Mailbox<Report> reports_;
  Mailbox<std::size_t> sizes_;
};

TEST_F(ReporterTest, ReportsAgainAndAgainAndOnceMoreAtItsEnd) {
  auto reporter = reporter_every(1ms);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(reports_.take());
  reporter.reset();
  const std::size_t sent = reports_.size();
  EXPECT_GE(sent, 1u);
  loop_.run([] {});
  EXPECT_EQ(reports_.size(), sent) << "nothing after its end";
}

TEST_F(ReporterTest, LastReportHasWhatCameSinceTheOneBefore) {
  auto reporter = reporter_every(1h);
  Event step;
  step.kind = EventKind::kStepDone;
  step.step = 41;
  step.bytes = 32;
  metrics_.record(step);
  reporter->log("loss", 42, 0.5);
  clock_.advance(2s);
  reporter->log("loss", 43, 0.25);
  reporter->set_position({1, 5, 42, 100});
  clock_.advance(1s);
  const Report report = last_of(std::move(reporter));
  EXPECT_EQ(report.metrics.steps_through, 42u);
  EXPECT_EQ(report.metrics.samples, 32u);
  EXPECT_EQ(report.position.step, 42);
  EXPECT_GT(report.usage.memory_bytes, 0u);
  ASSERT_THAT(report.values, SizeIs(2));
  EXPECT_EQ(report.values[0].step, 42);
  EXPECT_EQ(report.values[0].age_ns, Duration(3s).count());
  EXPECT_EQ(report.values[1].age_ns, Duration(1s).count());
  EXPECT_EQ(report.values[1].value, 0.25);
}

TEST_F(ReporterTest, AValueIsReportedOnce) {
  auto reporter = reporter_every(1ms);
  reporter->log("loss", 1, 0.5);
  std::size_t values = 0;
  for (int i = 0; i < 5; ++i) values += reports_.take().value().values.size();
  EXPECT_EQ(values, 1u);
}

TEST_F(ReporterTest, OfTooManyValuesTheNewestOfEachNameCount) {
  auto reporter = reporter_every(1h);
  reporter->log("once", 1, 7);
  for (int i = 0; i < 10'000; ++i) reporter->log("loss", i, i);
  for (int i = 0; i < 1000; ++i) reporter->log("late", i, i);
  const Report report = last_of(std::move(reporter));
  ASSERT_THAT(report.values, SizeIs(512));
  EXPECT_EQ(report.values.front().name, "once");
  EXPECT_EQ(report.values.back().name, "loss") << "for a new name there is no room";
  EXPECT_EQ(report.values.back().value, 9999);
  EXPECT_EQ(report.values[1].value, 9999 - 510);
}

TEST_F(ReporterTest, NoReportIsTooLargeForAFrame) {
  auto reporter = reporter_every(1h);
  for (int i = 0; i < 1000; ++i) reporter->log(std::string(100'000, 'x') + std::to_string(i), i, i);
  const Report report = last_of(std::move(reporter));
  for (const LoggedValue& value : report.values) ASSERT_LE(value.name.size(), 256u);
  EXPECT_LT(sizes_.take().value(), kControlBytesMax);
}

TEST_F(ReporterTest, ALongNameOfOtherLettersIsCutBetweenTwoOfThem) {
  auto reporter = reporter_every(1h);
  std::string name = "x";
  while (name.size() < 300) name += "\u00e4";
  for (int i = 0; i < 600; ++i) reporter->log(name, i, i);
  const Report report = last_of(std::move(reporter));
  ASSERT_FALSE(report.values.empty());
  EXPECT_EQ(report.values.back().name, name.substr(0, 255));
  EXPECT_EQ(report.values.back().value, 599) << "the newest of its name counts";
}

}  // namespace
}  // namespace tutti::testing
