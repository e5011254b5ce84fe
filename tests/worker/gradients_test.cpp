// SPDX-License-Identifier: Apache-2.0
// What the event file of a run says about its gradients is what LibTorch says about them.
#include <bit>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>

#include "tests/common/event_records.h"
#include "tests/common/temporary_folder.h"
#include "tests/worker/training_run.h"

namespace tutti::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

constexpr double kFloat32Rounds = 1e-7;  // relatively

std::map<std::int64_t, double> read_norms(const std::string& path) {
  std::ifstream file(path);
  std::map<std::int64_t, double> norms;
  double norm = 0;
  for (std::int64_t step = 0; file >> step >> norm;) norms[step] = norm;
  return norms;
}

std::vector<std::string> records_in(const std::string& folder) {
  std::vector<std::string> records;
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    for (std::string& record : whole_records(content_of(file.path()))) records.push_back(std::move(record));
  }
  return records;
}

double number_in(const std::string& bytes) {
  return std::bit_cast<double>(little_endian(bytes));
}

/// Of one step's histograms.
struct Sums {
  std::size_t parameters = 0;
  double numbers = 0, counted = 0, squares = 0;
};

std::map<std::int64_t, Sums> histograms_of(const std::vector<std::string>& records) {
  std::map<std::int64_t, Sums> found;
  for (const std::string& record : records) {
    auto event = fields_of(record);
    auto value = fields_of(fields_of(event[5])[1]);
    if (!value.contains(5)) continue;
    EXPECT_TRUE(value[1].starts_with("gradient/")) << value[1];
    auto histogram = fields_of(value[5]);
    Sums& sums = found[static_cast<std::int64_t>(little_endian(event[2]))];
    ++sums.parameters;
    sums.numbers += number_in(histogram[3]);
    sums.squares += number_in(histogram[5]);
    EXPECT_EQ(histogram[6].size(), histogram[7].size());
    for (std::size_t at = 0; at < histogram[7].size(); at += sizeof(double))
      sums.counted += number_in(histogram[7].substr(at, sizeof(double)));
  }
  return found;
}

/// The norms in the file are those of their steps, and there are some.
void expect_norms(const std::vector<std::string>& records, const std::map<std::int64_t, double>& expected) {
  std::size_t compared = 0;
  for (const Point& point : points_of(records)) {
    if (point.tag != "tutti/gradient_norm") continue;
    ASSERT_TRUE(expected.contains(point.step)) << point.step;
    EXPECT_GT(point.value, 0.01);
    EXPECT_NEAR(point.value / expected.at(point.step), 1, kFloat32Rounds) << point.step;
    ++compared;
  }
  EXPECT_GE(compared, 3u) << "the run takes two seconds";
}

const Strings kSteps = {"--hold-ms", "100"};

TEST(Gradients, OfTwoRanksHaveTheNormThatOneProcessHas) {
  const TemporaryFolder folder;
  reference_hash(2, {"--norms", folder.file("norms")});
  RunTutti run(
      managed(2, {"exchange=shm", "tensorboard=" + folder.file("logs"), "tensorboard_histograms_every=5"}, kSteps));
  hash_of(run);
  const auto norms = read_norms(folder.file("norms"));
  ASSERT_THAT(norms, SizeIs(20));
  const auto records = records_in(folder.file("logs"));
  expect_norms(records, norms);

  std::vector<std::int64_t> steps;
  for (const auto& [step, sums] : histograms_of(records)) {
    steps.push_back(step);
    EXPECT_EQ(sums.parameters, 12u) << "all but the one that is never used";
    EXPECT_EQ(sums.counted, sums.numbers);
    EXPECT_NEAR(std::sqrt(sums.squares) / norms.at(step), 1, 1e-12) << step;
  }
  EXPECT_THAT(steps, ElementsAre(5, 10, 15, 20));
}

TEST(Gradients, ThatAreZeroedRightAfterTheStepHaveTheNormTheyHadInIt) {
  const TemporaryFolder folder;
  RunTutti run(managed(2, {"exchange=shm", "tensorboard=" + folder.file("logs")},
                       kSteps + Strings{"--zero-after", "--norms", folder.file("norms")}));
  hash_of(run);
  expect_norms(records_in(folder.file("logs")), read_norms(folder.file("norms")));
}

TEST(Gradients, OfAProcessAloneThatClipsAndZeroesThemHaveTheNormThatBackwardLeft) {
  const TemporaryFolder folder;
  Environment environment = one_thread();
  environment["TUTTI_TENSORBOARD"] = folder.file("logs");
  environment["TUTTI_TENSORBOARD_HISTOGRAMS_EVERY"] = "10";
  RunTutti run({.arguments = kSteps + Strings{"--clip", "--zero-after", "--norms", folder.file("norms")},
                .environment = environment,
                .program = exacting()});
  hash_of(run);
  const auto norms = read_norms(folder.file("norms"));
  const auto records = records_in(folder.file("logs"));
  expect_norms(records, norms);
  const auto histograms = histograms_of(records);
  ASSERT_THAT(histograms, SizeIs(2));
  for (const auto& [step, sums] : histograms) EXPECT_NEAR(std::sqrt(sums.squares) / norms.at(step), 1, 1e-12) << step;
}

}  // namespace
}  // namespace tutti::testing
