// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <list>

#include "common/net/connection.h"
#include "common/net/port_holder.h"
#include "common/net/refusal_log.h"
#include "tests/common/net/loopback.h"

namespace tutti::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(Acceptor, HandsOverAConnectionThatProvedTheSecret) {
  Listening listening;
  const auto client = listening.connect_with(credentials({Role::kServer, 4, 9}));
  ASSERT_TRUE(client);
  const auto server = listening.accepted.take();
  ASSERT_TRUE(server);
  EXPECT_EQ((*server)->peer().role, Role::kServer);
  EXPECT_EQ((*server)->peer().rank, 4);
  EXPECT_EQ((*server)->peer().generation, 9u);
  EXPECT_EQ((*client)->local_address(), "127.0.0.1");
  EXPECT_EQ((*client)->peer_address(), listening.endpoint.text());
}

TEST(Acceptor, RefusesTheWrongSecretAndAnotherJob) {
  Listening listening;
  EXPECT_EQ(listening.connect_with(credentials({}, std::byte{8})).error().code, Errc::kAuthentication);
  EXPECT_EQ(listening.connect_with(credentials({}, std::byte{7}, std::byte{2})).error().code, Errc::kAuthentication);
  EXPECT_TRUE(listening.connect_with(credentials()));
  EXPECT_EQ(listening.accepted.size(), 1u);
}

TEST(Acceptor, DropsWhatIsNotTuttiAtTheMagic) {
  using namespace std::string_view_literals;
  Listening listening;
  for (const std::string_view start :
       {"GET / HTTP/1.1\r\nHost: x\r\n\r\n"sv, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"sv}) {
    RawClient raw(listening.endpoint);
    raw.write(bytes_of(start));
    EXPECT_TRUE(raw.sees_close());
  }
  EXPECT_EQ(listening.refused(), 2u);
  EXPECT_EQ(listening.accepted.size(), 0u);
}

TEST(Acceptor, ClosesAHandshakeThatStopsHalfWay) {
  Acceptor::Options options;
  options.handshake_timeout = std::chrono::milliseconds(50);
  Listening listening(options);
  RawClient silent(listening.endpoint);
  RawClient halfway(listening.endpoint);
  halfway.write(bytes_of("TUTTI"));
  EXPECT_TRUE(silent.sees_close());
  EXPECT_TRUE(halfway.sees_close());
}

TEST(Acceptor, OutlivesAHandshakeThatIsCutAtEveryByte) {
  Listening listening;
  const Credentials with = credentials();
  ClientHandshakeFsm machine(with.secret, with.job, with.self, random_nonce());
  const std::vector<std::byte> hello = machine.start().send;
  for (std::size_t size = 0; size < hello.size(); ++size) {
    RawClient raw(listening.endpoint);
    raw.write(std::span(hello).first(size));
    raw.close();
  }
  for (std::size_t size = 0; size < kProofBytes; ++size) {
    RawClient raw(listening.endpoint);
    ClientHandshakeFsm client(with.secret, with.job, with.self, random_nonce());
    raw.write(client.start().send);
    const auto proof = client.feed(raw.read(kChallengeBytes)).send;
    raw.write(std::span(proof).first(size));
    raw.close();
  }
  EXPECT_TRUE(listening.connect_with(with));
  EXPECT_EQ(listening.accepted.size(), 1u);
}

TEST(Acceptor, ManySilentConnectionsKeepNobodyOut) {
  Acceptor::Options options;
  options.unauthenticated_max = 8;
  Listening listening(options);
  std::list<RawClient> silent;
  for (int i = 0; i < 40; ++i) silent.emplace_back(listening.endpoint);
  EXPECT_TRUE(listening.connect_with(credentials()));
  EXPECT_TRUE(silent.front().sees_close()) << "the oldest gave its place up";
}

TEST(Acceptor, NamesTheHolderOfAPortThatIsTaken) {
  Listening first;
  Acceptor::Options options;
  options.port = first.endpoint.port;
  const auto second = first.loop.run([&] {
    return Acceptor::listen(first.loop.context(), options, credentials(), first.clock, Logger::none(), nullptr);
  });
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::kUnavailable);
  EXPECT_THAT(second.error().message,
              AllOf(HasSubstr(first.endpoint.text()), HasSubstr("process " + std::to_string(::getpid()))));
}

TEST(Acceptor, TakesTheNextPortOfARangeWhereTheFirstIsTaken) {
  Listening listening;
  Acceptor::Options options;
  options.port = listening.endpoint.port;
  options.last_port = static_cast<std::uint16_t>(std::min(options.port + 50, 65535));
  auto other = listening.loop.run([&] {
    return Acceptor::listen(listening.loop.context(), options, credentials(), listening.clock, Logger::none(), nullptr);
  });
  ASSERT_TRUE(other);
  EXPECT_GT((*other)->endpoint().port, options.port);
  EXPECT_LE((*other)->endpoint().port, options.last_port);
  listening.loop.run([&] { other->reset(); });
}

TEST(Acceptor, RefusesAnAddressInWords) {
  Loop loop;
  SteadyClock clock;
  Acceptor::Options options;
  options.address = "node1";
  const auto acceptor = loop.run(
      [&] { return Acceptor::listen(loop.context(), options, credentials(), clock, Logger::none(), nullptr); });
  ASSERT_FALSE(acceptor);
  EXPECT_EQ(acceptor.error().code, Errc::kConfig);
}

TEST(Connect, SaysThatNobodyListens) {
  Endpoint gone;
  {
    Listening listening;
    gone = listening.endpoint;
  }
  Listening other;
  other.endpoint = gone;
  const auto connection = other.connect_with(credentials());
  ASSERT_FALSE(connection);
  EXPECT_EQ(connection.error().code, Errc::kUnavailable);
  EXPECT_THAT(connection.error().message, HasSubstr(gone.text()));
}

TEST(Connect, GivesUpOnASilentServerAtItsDeadline) {
  boost::asio::io_context context;
  boost::asio::ip::tcp::acceptor silent(context, {boost::asio::ip::make_address("127.0.0.1"), 0});
  Listening listening;
  listening.endpoint.port = silent.local_endpoint().port();
  const auto connection = listening.connect_with(credentials(), std::chrono::milliseconds(50));
  ASSERT_FALSE(connection);
  EXPECT_EQ(connection.error().code, Errc::kTimeout);
}

TEST(PortHolder, KnowsNothingOfAPortNobodyListensOn) {
  std::uint16_t port = 0;
  {
    Listening listening;
    port = listening.endpoint.port;
    EXPECT_TRUE(holder_of_port(port));
  }
  EXPECT_FALSE(holder_of_port(port));
}

TEST(RefusalLog, WritesOneLineForEachAddressInTenSeconds) {
  const std::string path = ::testing::TempDir() + "refusals_" + std::to_string(::getpid()) + ".log";
  ManualClock clock;
  RefusalLog refusals(clock, Logger::to_file(path, "test").value());
  const Failure why = fail(Errc::kProtocol, "not tutti");
  for (int i = 0; i < 5; ++i) refusals.refuse("10.0.0.1", why);
  refusals.refuse("10.0.0.2", why);
  clock.advance(std::chrono::seconds(10));
  refusals.refuse("10.0.0.1", why);
  EXPECT_EQ(refusals.refused(), 7u);
  std::ifstream file(path);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3) << text;
  std::remove(path.c_str());
}

}  // namespace
}  // namespace tutti::testing
