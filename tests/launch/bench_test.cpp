// SPDX-License-Identifier: Apache-2.0
// `tutti bench` where it measures nothing: statistics, the checks of results, what it prints, what it starts.
#include <gmock/gmock.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <functional>
#include <limits>

#include "launch/bench/pattern.h"
#include "launch/bench/report.h"
#include "launch/bench/rounds.h"
#include "launch/bench/statistics.h"
#include "launch/bench/turn_line.h"
#include "launch/commands.h"
#include "launch/guards_command.h"
#include "tests/common/temporary_folder.h"
#include "tutti/error.h"

namespace tutti {
namespace {

using bench::Options;
using bench::Pattern;
using launch::BenchCommand;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(BenchStatistics, PercentilesAreSamples) {
  std::vector<double> hundred(100);
  for (std::size_t i = 0; i < hundred.size(); ++i) hundred[i] = static_cast<double>((i * 37) % 100 + 1);
  EXPECT_EQ(bench::summarize(hundred), (bench::Summary{1, 50, 99, 100}));
  EXPECT_EQ(bench::summarize({3, 1, 2}), (bench::Summary{1, 2, 3, 3}));
  EXPECT_EQ(bench::summarize({7}), (bench::Summary{7, 7, 7, 7}));
}

TEST(BenchStatistics, BusBandwidthCountsWhatEachRankHasToMove) {
  EXPECT_EQ(bench::bus_bandwidth(100, 2), 100);
  EXPECT_EQ(bench::bus_bandwidth(100, 4), 150);
  EXPECT_EQ(bench::bus_bandwidth(100, 1), 0);
}

std::vector<float> reduced(int ranks, std::uint32_t round, std::size_t elements, Reduction reduction) {
  std::vector<float> sum(elements), own(elements);
  for (int rank = 0; rank < ranks; ++rank) {
    Pattern(ranks, round).fill(own, rank);
    std::transform(sum.begin(), sum.end(), own.begin(), sum.begin(), std::plus<>());
  }
  if (reduction == Reduction::kAverage) {
    for (float& value : sum) value /= static_cast<float>(ranks);
  }
  return sum;
}

TEST(BenchPattern, TakesTheTrueResultOnly) {
  constexpr std::size_t kElements = 10'000;
  for (const int ranks : {1, 2, 3, 4, 7, Pattern::kRanksMax}) {
    for (const Reduction reduction : {Reduction::kAverage, Reduction::kSum}) {
      const Pattern pattern(ranks, 5);
      auto values = reduced(ranks, 5, kElements, reduction);
      EXPECT_EQ(pattern.first_wrong(values, reduction, 0), std::nullopt) << ranks;
      for (const std::size_t at : {std::size_t{0}, std::size_t{4097}, kElements - 1}) {
        const float right = values[at];
        for (const float wrong : {std::nextafter(right, 1e9f), 0.5f, std::numeric_limits<float>::quiet_NaN()}) {
          values[at] = wrong;
          EXPECT_EQ(pattern.first_wrong(values, reduction, 0), at) << ranks << " ranks, " << wrong;
        }
        values[at] = right;
      }
    }
  }
}

TEST(BenchPattern, SeesAMissingADoubledAndAnOldContribution) {
  constexpr std::size_t kElements = 100;
  const Pattern pattern(4, 9);
  std::vector<float> own(kElements), other(kElements);
  for (int rank = 0; rank < 4; ++rank) {
    for (int instead = 0; instead < 4; ++instead) {
      if (rank == instead) continue;
      auto values = reduced(4, 9, kElements, Reduction::kSum);
      pattern.fill(own, rank);
      pattern.fill(other, instead);
      for (std::size_t i = 0; i < kElements; ++i) values[i] += other[i] - own[i];
      EXPECT_TRUE(pattern.first_wrong(values, Reduction::kSum, 0)) << rank << " replaced by " << instead;
    }
  }
  EXPECT_TRUE(pattern.first_wrong(reduced(4, 8, kElements, Reduction::kSum), Reduction::kSum, 0));
  EXPECT_TRUE(pattern.first_wrong(reduced(3, 9, kElements, Reduction::kSum), Reduction::kSum, 0));
}

TEST(BenchPattern, AToleranceIsRelative) {
  const Pattern pattern(2, 1);
  auto values = reduced(2, 1, 100, Reduction::kSum);
  const auto largest = std::max_element(values.begin(), values.end());
  *largest *= 1.005f;
  EXPECT_EQ(pattern.first_wrong(values, Reduction::kSum, 0.01f), std::nullopt);
  EXPECT_EQ(pattern.first_wrong(values, Reduction::kSum, 0.001f), largest - values.begin());
}

/// One rank whose reduction does what the test wants to a bucket.
class AloneCollective final : public bench::Collective {
 public:
  using Spoil = std::function<void(std::uint32_t bucket, int call, std::span<float> values)>;
  AloneCollective(std::uint64_t bytes, Spoil spoil) : bytes_(bytes), memory_(bytes), spoil_(std::move(spoil)) {}

  int rank() const override { return 0; }
  int ranks() const override { return 1; }
  std::span<float> values(std::uint32_t bucket) override {
    return {reinterpret_cast<float*>(memory_.places()[bucket]), bench::elements_of(bucket, bytes_)};
  }
  void reduce(std::uint32_t bucket) override {
    ++calls;
    spoil_(bucket, calls, values(bucket));
  }
  Reduction reduction() const override { return Reduction::kAverage; }
  float tolerance() const override { return 0; }
  void max_over_ranks(std::vector<double>&) override {}

  int calls = 0;

 private:
  const std::uint64_t bytes_;
  bench::PlainMemory memory_;
  const Spoil spoil_;
};

constexpr int kCallsOfARound = 4;  // the meeting, two buckets, the meeting again

TEST(BenchRounds, ReduceEveryBucketOfEveryBatchBetweenTwoMeetings) {
  AloneCollective collective(128 << 10, [](std::uint32_t bucket, int call, std::span<float>) {
    EXPECT_EQ(bucket, static_cast<std::uint32_t>((call - 1) % kCallsOfARound % 3));
  });
  const auto measured = bench::measure_rounds(collective, 128 << 10, 4);
  EXPECT_EQ(bench::batch_size(128 << 10), 2u);
  EXPECT_EQ(collective.calls, (3 + 4) * kCallsOfARound);  // three batches to warm up
  EXPECT_EQ(measured.bytes, 128u << 10);
  EXPECT_GT(measured.us.min, 0);
}

TEST(BenchRounds, OneWrongElementOfTheLastRoundEndsTheBench) {
  AloneCollective collective(128 << 10, [](std::uint32_t, int call, std::span<float> values) {
    if (call == (3 + 4) * kCallsOfARound - 1) values.back() += 1;
  });
  try {
    bench::measure_rounds(collective, 128 << 10, 4);
    ADD_FAILURE() << "a wrong element was taken for a right one";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("rank 0: element 32767 of 32768"));
  }
}

TEST(BenchRounds, BatchesAndRoundsSuitTheSize) {
  EXPECT_EQ(bench::batch_size(4), 64u);
  EXPECT_EQ(bench::batch_size(4096), 64u);
  EXPECT_EQ(bench::batch_size(64 << 10), 4u);
  EXPECT_EQ(bench::batch_size(1 << 30), 1u);
  EXPECT_EQ(bench::batches_for(0.1), 2000);
  EXPECT_EQ(bench::batches_for(10'000), 100);
  EXPECT_EQ(bench::batches_for(1e6), 20);
}

bench::Measurement example() {
  bench::Measurement example;
  example.bench = "step";
  example.exchange = "ps";
  example.transport = "auto";
  example.ranks = 4;
  example.shards = 2;
  example.bytes = 1000;
  example.model = "mlp";
  example.us = {1, 2, 3, 4};
  example.exposed_us = 0.5;
  example.more = {{"rounds", 20}, {"forward_us", 1.25}};
  return example;
}

TEST(BenchReport, ALineIsAnObjectWithThePromisedKeysFirst) {
  const auto object = boost::json::parse(bench::to_json(example())).as_object();
  std::vector<std::string> keys;
  for (const auto& entry : object) keys.emplace_back(entry.key());
  keys.resize(11);
  EXPECT_THAT(keys, ElementsAre("bench", "exchange", "transport", "ranks", "shards", "bytes", "model", "p50_us",
                                "p99_us", "bytes_per_s", "exposed_us"));
  EXPECT_EQ(object.at("model"), "mlp");
  EXPECT_EQ(object.at("p50_us").to_number<double>(), 2);
  EXPECT_EQ(object.at("bytes_per_s").to_number<double>(), 5e8);
  EXPECT_EQ(object.at("bus_bytes_per_s").to_number<double>(), 7.5e8);
  EXPECT_EQ(object.at("exposed_us").to_number<double>(), 0.5);
  EXPECT_EQ(object.at("forward_us").to_number<double>(), 1.25);
}

TEST(BenchReport, WhatABenchDoesNotHaveIsNull) {
  auto pushpull = example();
  pushpull.bench = "pushpull";
  pushpull.model.clear();
  pushpull.exposed_us.reset();
  const auto object = boost::json::parse(bench::to_json(pushpull)).as_object();
  EXPECT_TRUE(object.at("model").is_null());
  EXPECT_TRUE(object.at("exposed_us").is_null());
  EXPECT_FALSE(object.contains("bus_bytes_per_s"));
}

TEST(BenchReport, ATableHasAHeadAndOneLineForEach) {
  const std::string table = bench::to_table({example(), example()});
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 3);
  EXPECT_THAT(table, HasSubstr("exposed us"));
  EXPECT_THAT(table, HasSubstr("mlp"));
}

TEST(BenchReport, GuardsHaveALineForEachExchangeBelowOneHead) {
  auto guards = example();
  guards.more = {{"bare_us", 200}, {"cost", 0.0125}, {"mean_cost", -0.002}, {"rounds", 40}};
  const std::string line = bench::guards_line(guards);
  for (const char* field : {" 200.0", " 1.25", " -0.20", " 40 "}) EXPECT_THAT(line, HasSubstr(field));
  EXPECT_EQ(line.size(), bench::guards_head().size());
}

TEST(BenchTurns, AreTakenOneAfterTheOther) {
  const testing::TemporaryFolder folder;
  ASSERT_TRUE(bench::TurnLine::make(folder.path()));
  auto one = bench::TurnLine::open(folder.path(), true), other = bench::TurnLine::open(folder.path(), false);
  ASSERT_TRUE(one && other);
  ASSERT_TRUE(one->pass());
  EXPECT_TRUE(other->await(std::chrono::seconds(20)));
  const auto silent = other->await(std::chrono::seconds(0));
  ASSERT_FALSE(silent) << "it is not its turn";
  EXPECT_EQ(silent.error().code, Errc::kTimeout);
  std::vector<double> told(1000, 1.5), heard(told.size());
  ASSERT_TRUE(other->tell(std::as_bytes(std::span(told))));
  ASSERT_TRUE(one->hear(std::as_writable_bytes(std::span(heard)), std::chrono::seconds(20)));
  EXPECT_EQ(heard, told);
}

BenchCommand parse(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "bench");
  return std::get<BenchCommand>(launch::parse_command(arguments).value());
}

TEST(BenchCommandLine, HandsItsOptionsOnToTheRanksUnchanged) {
  const auto command = parse({"allreduce", "--bytes", "4096,8", "--vs", "memcpy,tcp", "--memory", "anywhere",
                              "--rounds", "7", "--transport", "tcp", "--tolerance", "0.01", "--json"});
  EXPECT_THAT(command.options.bytes, ElementsAre(4096, 8));
  EXPECT_EQ(bench::parse_options(bench::to_arguments(command.options)).value(), command.options);
  for (const char* kind : {"allreduce", "pushpull", "step", "guards"}) {
    const Options options = parse({kind}).options;
    EXPECT_EQ(bench::parse_options(bench::to_arguments(options)).value(), options);
  }
}

TEST(BenchCommandLine, ListsEndWhereSettingsBegin) {
  const auto command = parse({"allreduce", "--bytes", "4096,8", "hosts=a,b", "--vs", "tcp", "seed=7"});
  EXPECT_THAT(command.options.bytes, ElementsAre(4096, 8));
  EXPECT_THAT(command.options.vs, ElementsAre("tcp"));
  EXPECT_THAT(command.overrides, ElementsAre("hosts=a,b", "seed=7"));
}

TEST(BenchCommandLine, MistakesAreUsageErrors) {
  const std::vector<std::vector<std::string>> mistakes = {{"bench"},
                                                          {"bench", "allgather"},
                                                          {"bench", "allreduce", "--bytes", "0"},
                                                          {"bench", "allreduce", "--bytes", "4097"},
                                                          {"bench", "allreduce", "--bytes", "9999999996"},
                                                          {"bench", "step", "--bytes", "4096"},
                                                          {"bench", "guards", "--bytes", "4096"},
                                                          {"bench", "step", "--model", "resnet"},
                                                          {"bench", "step", "no-setting"},
                                                          {"bench", "step", "--ranks", "-1"}};
  for (const auto& arguments : mistakes) {
    const auto command = launch::parse_command(arguments);
    ASSERT_FALSE(command) << arguments.back();
    EXPECT_EQ(command.error().code, Errc::kUsage);
  }
}

TEST(BenchRequest, IsTwoRanksOfThisMachineUnlessSaidOtherwise) {
  const auto keys = bench_request(parse({"allreduce"}), "/bin/tutti-bench", {}).overrides;
  EXPECT_THAT(keys, ElementsAre("threads=1", "workers=2", "launcher=local"));
  const auto hosts = bench_request(parse({"step", "hosts=a:2,b:2", "threads=2"}), "/bin/tutti-bench", {}).overrides;
  EXPECT_THAT(hosts, ElementsAre("threads=1", "hosts=a:2,b:2", "threads=2"));
  const Environment mpi = {{"OMPI_COMM_WORLD_SIZE", "4"}};
  EXPECT_THAT(bench_request(parse({"step"}), "p", mpi).overrides, ElementsAre("threads=1"));
  EXPECT_THAT(bench_request(parse({"step", "--ranks", "3"}), "p", mpi).overrides, Contains("workers=3"));
}

TEST(BenchRequest, PushPullIsTheParameterServersInChunksOfFourMegabytes) {
  const auto request =
      bench_request(parse({"pushpull", "--shards", "2", "--transport", "tcp"}), "/bin/tutti-bench", {});
  for (const char* key : {"exchange=ps", "shards=2", "chunk_bytes=4000000", "transport=tcp"})
    EXPECT_THAT(request.overrides, Contains(key));
  EXPECT_THAT(request.program, Contains("100000000"));
  EXPECT_THAT(bench_request(parse({"pushpull"}), "p", {}).overrides, Not(Contains(HasSubstr("transport"))));
}

TEST(BenchRequest, GuardsAreAllOnInOneRunAndAllOffInTheOther) {
  const auto pairs = launch::guards_pairs(parse({"guards", "replacements=1"}), "/tmp/x");
  ASSERT_EQ(pairs.size(), 4u) << "one for each exchange, by sockets, too";
  const auto& [guarded, bare] = pairs[2];
  EXPECT_EQ(guarded.exchange, "ps");
  EXPECT_EQ(guarded.options.transport, "tcp");
  EXPECT_EQ(guarded.options.turns, bare.options.turns);
  EXPECT_NE(guarded.options.turns, pairs[1][0].options.turns);
  EXPECT_EQ(bench::parse_options(bench::to_arguments(guarded.options)).value(), guarded.options);

  const auto with = bench_request(guarded, "p", {}).overrides;
  for (const char* key : {"replacements=3", "replica_check_every=100", "checkpoint_every=50"})
    EXPECT_THAT(with, Contains(key));
  EXPECT_THAT(with, Contains("checkpoint_dir=/tmp/x/2/checkpoints"));
  EXPECT_EQ(with.back(), "replacements=1") << "what the user says comes last, and counts";
  const auto without = bench_request(bare, "p", {}).overrides;
  const auto last = std::vector<std::string>(without.end() - 5, without.end());
  EXPECT_THAT(last, ElementsAre("replacements=0", "replica_check_every=0", "checkpoint_every=0",
                                "checkpoint_dir=", "nan_policy=ignore"));
}

TEST(BenchRequest, GuardsOfOneExchangeAreMeasuredWhereItIsNamed) {
  const auto pairs =
      launch::guards_pairs(parse({"guards", "--exchange", "ps", "--transport", "tcp", "checkpoint_dir=c"}), "/tmp/x");
  ASSERT_EQ(pairs.size(), 1u);
  EXPECT_EQ(pairs[0][0].options.transport, "tcp");
  EXPECT_EQ(pairs[0][0].overrides.back(), "checkpoint_dir=c");
}

TEST(BenchRequest, OverMpiTheConfigurationTravelsInVariables) {
  const auto request = bench_request(parse({"step", "--exchange", "mpi", "timeout_s=9"}), "/bin/tutti-bench", {});
  EXPECT_TRUE(is_embedded(request));
  const auto program = embedded_program(request);
  EXPECT_EQ(program.added, (Environment{{"TUTTI_EXCHANGE", "mpi"}, {"TUTTI_THREADS", "1"}, {"TUTTI_TIMEOUT_S", "9"}}));
  EXPECT_THAT(program.line, Contains("TUTTI_TIMEOUT_S"));
  EXPECT_FALSE(is_embedded(bench_request(parse({"step", "--exchange", "mpi", "exchange=gloo"}), "p", {})));
}

}  // namespace
}  // namespace tutti
