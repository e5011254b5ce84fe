// SPDX-License-Identifier: Apache-2.0
// What happens around a run and must not be felt in it.
#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <cstdio>
#include <string>

#include "common/net/connection.h"
#include "tests/chaos/chaos_run.h"
#include "tests/chaos/proxy.h"

namespace tutti::testing {
namespace {

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
  EXPECT_EQ(run.replaced(), 0u) << run.err();
  std::printf("measured row=17 exchange=ps scanned=%d SHA=yes\n", scanned);
}

TEST(Bystanders, TheWallClockOfOneRankMayJump) {
  const TemporaryFolder folder;
  const Proxy proxy(folder.path());
  ChaosRun run({.faults = {"2:60:forward:clock"}, .environment = proxy.environment()});
  run.expect_same_bits();
  EXPECT_EQ(run.replaced(), 0u) << run.err();
  EXPECT_EQ(run.measured().size(), 1u) << "the clock has jumped";
  std::printf("measured row=28 exchange=shm SHA=yes\n");
}

}  // namespace
}  // namespace tutti::testing
