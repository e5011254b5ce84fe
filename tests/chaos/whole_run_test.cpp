// SPDX-License-Identifier: Apache-2.0
// Faults that end a run as a whole and let it go on from its checkpoint, and faults around a run that must not be felt.
#include <gmock/gmock.h>

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <csignal>
#include <cstdio>
#include <functional>

#include "common/net/connection.h"
#include "tests/chaos/chaos_run.h"
#include "tests/chaos/proxy.h"
#include "tests/worker/training_run.h"

namespace tutti::testing {
namespace {

using ::testing::HasSubstr;

constexpr std::chrono::seconds kGone{5};
constexpr std::int64_t kEvery = 50, kStruck = 120;  // steps between checkpoints; when the fault strikes
constexpr const char* kReplaced = "begins with a new process";

/// Ends a run by `strike` after the step kStruck, and expects that nothing of it is left and that the next one goes on.
void expect_goes_on(const std::string& row, ChaosOptions options, const std::function<void(ChaosRun&)>& strike) {
  const TemporaryFolder checkpoints;
  options.configuration = options.configuration +
                          Strings{"checkpoint_dir=" + checkpoints.path(), "checkpoint_every=" + std::to_string(kEvery)};
  options.hold_ms = 5;
  ChaosRun run(options);
  ASSERT_TRUE(run.reaches(kStruck)) << run.err();
  strike(run);
  EXPECT_TRUE(run.finish(kPatience).has_value());
  EXPECT_EQ(run.run().leftovers(kGone), "");
  options.marks = run.marks_folder();
  ChaosRun rest(options);
  rest.expect_same_bits();
  for (const auto& [struck, measured] : run.measured()) rest.note(struck);
  EXPECT_THAT(rest.err(), HasSubstr("goes on from"));
  rest.report(row, 1, kEvery);
}

/// The agent of the first MPI rank.
pid_t first_agent(const RunTutti& run) {
  for (const MarkedProcess& process : run.processes(bin_folder() + "/tutti")) {
    if (has_variable(process.pid, "OMPI_COMM_WORLD_RANK", "0")) return process.pid;
  }
  return 0;
}

TEST(KilledRun, GoesOnAfterTheDeathOfMpirun) {
  expect_goes_on("6", {.launcher = "mpirun"}, [](ChaosRun& run) {
    run.note({-1, kStruck, monotonic_ns()});
    run.run().signal(SIGKILL);
  });
}

TEST(KilledRun, GoesOnAfterTheDeathOfTheCoordinatorsAgent) {
  expect_goes_on("6", {.launcher = "mpirun"},
                 [](ChaosRun& run) { run.strike(Role::kAgent, -1, first_agent(run.run()), SIGKILL); });
}

TEST(KilledRun, GoesOnAfterTheDeathOfEveryProcess) {
  for (const std::string exchange : {"shm", "ps"}) {
    expect_goes_on("7", {.exchange = exchange, .shards = exchange == "ps" ? 2 : 0}, [](ChaosRun& run) {
      const auto all = run.run().processes();
      run.note({-1, kStruck, monotonic_ns()});
      for (const MarkedProcess& process : all) ::kill(process.pid, SIGKILL);
    });
  }
}

TEST(CrashLoop, OfKillsEndsTheRunAfterThreeTriesAndNamesTheKilled) {
  ChaosRun run({.faults = {"1:30:forward:9!"}});
  EXPECT_EQ(run.finish(kPatience), 70) << run.err();
  EXPECT_EQ(count(run.err(), kReplaced), 3u) << run.err();
  EXPECT_THAT(run.err().substr(run.err().rfind("tutti: rank ")), HasSubstr("was killed by signal 9"));
  EXPECT_EQ(run.run().leftovers(kGone), "");
}

TEST(Bystanders, TwoRunsShareARangeOfPorts) {
  const int first = 20000 + getpid() % 20000;
  const std::string ports = "ports=" + std::to_string(first) + "-" + std::to_string(first + 20);
  const ChaosOptions options{.exchange = "ps", .workers = 2, .shards = 2, .configuration = {ports, "transport=tcp"}};
  ChaosRun one(options), other(options);
  one.expect_same_bits();
  other.expect_same_bits();
  std::printf("measured row=26 exchange=ps SHA=yes\n");
}

TEST(Bystanders, AScanOfAllPortsIsNotFelt) {
  ChaosRun run({.exchange = "ps", .shards = 2, .hold_ms = 5, .configuration = {"transport=tcp"}});
  int scanned = 0;
  for (std::int64_t step = 20; step < 160; step += 10) {
    ASSERT_TRUE(run.reaches(step)) << run.err();
    for (const std::string& address : listening_of(run.run().processes())) {
      const auto endpoint = parse_endpoint(address);
      ASSERT_TRUE(endpoint);
      boost::asio::io_context context;
      boost::asio::ip::tcp::socket socket(context);
      boost::system::error_code error;
      socket.connect({boost::asio::ip::make_address(endpoint->host), endpoint->port}, error);
      const std::string noise = step % 20 == 0 ? "GET / HTTP/1.1\r\n\r\n" : std::string(1 << 20, '\x16');
      boost::asio::write(socket, boost::asio::buffer(noise), error);
      ++scanned;
    }
  }
  run.expect_same_bits();
  EXPECT_GE(scanned, 14 * 3) << "the coordinator and two shards listen";
  EXPECT_EQ(count(run.err(), kReplaced), 0u) << run.err();
  std::printf("measured row=17 exchange=ps scanned=%d SHA=yes\n", scanned);
}

TEST(Bystanders, TheWallClockOfOneRankMayJump) {
  const TemporaryFolder folder;
  const Proxy proxy(folder.path());
  ChaosRun run({.faults = {"2:60:forward:clock"}, .environment = proxy.environment()});
  run.expect_same_bits();
  EXPECT_EQ(count(run.err(), kReplaced), 0u) << run.err();
  run.report("28", 1);
}

}  // namespace
}  // namespace tutti::testing
