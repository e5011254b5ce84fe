// SPDX-License-Identifier: Apache-2.0
// The parameters after 20 steps, bit for bit those of one process that accumulates the same micro-batches in rank
// order.
#include <cmath>
#include <filesystem>
#include <fstream>

#include "tests/worker/training_run.h"

namespace tutti::testing {
namespace {

std::vector<double> read_dump(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::vector<double> values;
  for (double value; file.read(reinterpret_cast<char*>(&value), sizeof value);) values.push_back(value);
  return values;
}

void expect_ps_equals_reference(const std::string& optimizer) {
  for (const int workers : {1, 2, 3, 4}) {
    const std::string expected = reference_hash(workers, {"--optimizer", optimizer});
    for (const int shards : {1, 2, 3}) {
      RunTutti run(managed(workers, {"exchange=ps", "shards=" + std::to_string(shards), "chunk_bytes=1024"},
                           {"--optimizer", optimizer}));
      EXPECT_EQ(hash_of(run), expected) << workers << " workers, " << shards << " shards";
    }
  }
}

TEST(Exactness, ParameterServerEqualsOneProcessWithSgdAndMomentum) {
  expect_ps_equals_reference("sgd");
}

TEST(Exactness, ParameterServerEqualsOneProcessWithAdam) {
  expect_ps_equals_reference("adam");
}

TEST(Exactness, SharedMemoryEqualsOneProcess) {
  for (const std::string optimizer : {"sgd", "adam"}) {
    for (const int workers : {2, 3, 4, 5}) {
      RunTutti run(managed(workers, {"exchange=shm"}, {"--optimizer", optimizer}));
      EXPECT_EQ(hash_of(run), reference_hash(workers, {"--optimizer", optimizer}))
          << workers << " workers, " << optimizer;
    }
  }
}

TEST(Exactness, SharedMemoryIsWhatRanksOfOneHostTakeByThemselves) {
  const std::string expected = reference_hash(3);
  RunTutti managed_run(managed(3, {}, {"--delay"}));
  EXPECT_EQ(hash_of(managed_run), expected);
  EXPECT_EQ(value_of(managed_run.out(), "exchange"), "shm");
  RunTutti embedded_run(embedded(3, {}, {"--delay"}));
  EXPECT_EQ(hash_of(embedded_run), expected);
  EXPECT_EQ(value_of(embedded_run.out(), "exchange"), "shm");
}

TEST(Exactness, TwoStagesOnOneHostAreSharedMemory) {
  const std::string expected = reference_hash(3);
  for (const std::string exchange : {"shm+ps", "shm+gloo"}) {
    RunTutti run(managed(3, {"exchange=" + exchange}));
    EXPECT_EQ(hash_of(run), expected) << exchange;
    EXPECT_EQ(value_of(run.out(), "exchange"), exchange);
  }
  RunTutti run(embedded(3, {{"TUTTI_EXCHANGE", "shm+mpi"}}));
  EXPECT_EQ(hash_of(run), expected);
}

TEST(Exactness, AloneEqualsOneProcessWithoutTutti) {
  RunTutti run({.arguments = {}, .environment = one_thread(), .program = exacting()});
  EXPECT_EQ(hash_of(run), reference_hash(1));
}

TEST(Exactness, TheReferenceSeesAnotherOrderOfTwoRanksAndAMultiplicationByTheReciprocal) {
  const std::string expected = reference_hash(3);
  EXPECT_EQ(reference_hash(3), expected);
  EXPECT_NE(reference_hash(3, {"--swap"}), expected);
  EXPECT_NE(reference_hash(3, {"--reciprocal"}), expected);
}

TEST(Exactness, RanksThatStartInAnyOrderWithDelaysGiveTheSameBits) {
  const std::string expected = reference_hash(3);
  for (int repeat = 0; repeat < 2; ++repeat) {
    RunTutti run(managed(3, {"exchange=ps", "shards=2"}, {"--delay"}));
    EXPECT_EQ(hash_of(run), expected);
  }
}

/// Of the final parameters, as one vector, relative to its length.
void expect_close_to_reference(const RunTutti::Options& options, const std::string& dump, double tolerance) {
  RunTutti run(options);
  hash_of(run);
  RunTutti reference({.arguments = {"--reference", "3", "--dump", dump + ".reference"},
                      .environment = one_thread(),
                      .program = exacting()});
  hash_of(reference);
  const auto actual = read_dump(dump), expected = read_dump(dump + ".reference");
  ASSERT_EQ(actual.size(), expected.size());
  ASSERT_GT(actual.size(), 1000u);
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    difference = std::hypot(difference, actual[i] - expected[i]);
    size = std::hypot(size, expected[i]);
  }
  EXPECT_LE(difference / size, tolerance);
}

TEST(Exactness, HalvesOnTheWireAreCloseToTheReferenceAndRepeatable) {
  const std::string expected = reference_hash(3);
  for (const std::string wire : {"bfloat16", "float16"}) {
    RunTutti one(managed(3, {"exchange=ps", "shards=1", "wire_dtype=" + wire}, {}));
    RunTutti other(managed(3, {"exchange=ps", "shards=2", "chunk_bytes=1024", "wire_dtype=" + wire}, {"--delay"}));
    const std::string hash = hash_of(one);
    EXPECT_EQ(hash_of(other), hash) << wire;
    EXPECT_NE(hash, expected) << wire << ": nothing was rounded";
  }
  RunTutti place = scratch();
  const std::string dump = place.folder() + "/dump";
  expect_close_to_reference(managed(3, {"exchange=ps", "shards=2", "wire_dtype=bfloat16"}, {"--dump", dump}), dump,
                            1e-2);
}

TEST(Exactness, AResumedRunEndsInTheSameBits) {
  for (const std::string optimizer : {"sgd", "adam"}) {
    const std::string expected = reference_hash(2, {"--optimizer", optimizer});
    RunTutti place = scratch();
    const std::string folder = place.folder() + "/checkpoints";
    RunTutti first(
        managed(2, {"exchange=ps", "shards=1"}, {"--optimizer", optimizer, "--checkpoint", folder, "--save-at", "13"}));
    ASSERT_EQ(first.wait(kPatience), 0) << first.err();
    RunTutti second(
        managed(2, {"exchange=ps", "shards=2"}, {"--optimizer", optimizer, "--checkpoint", folder, "--resume"}));
    EXPECT_EQ(hash_of(second), expected) << optimizer;
  }
}

/// mnist on two workers in this configuration, against the same program alone with two micro-batches.
void expect_mnist_equals_one_process(const Strings& configuration) {
  const std::string folder = std::filesystem::absolute("data/mnist");
  const Strings program{bin_folder() + "/mnist", "--data", folder, "--epochs", "2"};
  RunTutti run({.arguments = Strings{"run"} + configuration + Strings{"--"} + program, .environment = one_thread()});
  ASSERT_EQ(run.wait(kPatience), 0) << run.err();
  RunTutti alone({.arguments = {"--data", folder, "--epochs", "2", "--micro-batches", "2"},
                  .environment = one_thread(),
                  .program = program[0]});
  ASSERT_EQ(alone.wait(kPatience), 0) << alone.err();
  EXPECT_EQ(value_of(run.out(), "workers"), "2");
  EXPECT_EQ(value_of(alone.out(), "workers"), "1");
  EXPECT_EQ(value_of(run.out(), "parameters").size(), 16u);
  EXPECT_EQ(value_of(run.out(), "parameters"), value_of(alone.out(), "parameters"));
}

TEST(Exactness, MnistOnTwoWorkersEqualsOneProcessWithTwoMicroBatches) {
  if (!std::filesystem::exists("data/mnist")) GTEST_SKIP() << "data/mnist is not there: launch/quickstart.sh makes it";
  expect_mnist_equals_one_process({"configs/mnist.toml"});
  // Its largest gradient is born in the shared segment, or copied there.
  for (const char* born : {"born_in_place=true", "born_in_place=false"}) {
    expect_mnist_equals_one_process({"launcher=local", "workers=2", "exchange=shm", born});
  }
}

// Gloo and MPI sum in an order of their own, so a sum of three or more differs in its last bits, and 20 steps of
// momentum carry that on.
constexpr double kOrderTolerance = 1e-6;

TEST(Exactness, GlooIsCloseToTheReference) {
  RunTutti place = scratch();
  const std::string dump = place.folder() + "/dump";
  expect_close_to_reference(managed(3, {"exchange=gloo"}, {"--dump", dump}), dump, kOrderTolerance);
}

TEST(Exactness, MpiIsCloseToTheReference) {
  RunTutti place = scratch();
  const std::string dump = place.folder() + "/dump";
  expect_close_to_reference(embedded(3, {{"TUTTI_EXCHANGE", "mpi"}}, {"--dump", dump}), dump, kOrderTolerance);
}

TEST(Exactness, ParameterServerUnderMpirunEqualsOneProcess) {
  RunTutti run({.arguments = {"run", "launcher=mpirun", "workers=2", "shards=2", "exchange=ps", "--", exacting()},
                .environment = one_thread()});
  EXPECT_EQ(hash_of(run), reference_hash(2));
}

}  // namespace
}  // namespace tutti::testing
