// SPDX-License-Identifier: Apache-2.0
// Silence is told from having nothing to say.
#include "common/net/keep_alive.h"

#include <gtest/gtest.h>

#include "tests/common/net/loopback.h"

namespace tutti::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Sign = KeepAlive::Sign;

constexpr Duration kTimeout = seconds(12);  // a word each second, given up after six

/// One end, looked after once a second.
struct End {
  explicit End(Sign sign) : machine(kTimeout, sign) { machine.look(bytes, now); }
  /// Its words, with those of `peer` where the path to it lets them through.
  void pass(KeepAlive& peer, bool hears, bool is_heard) {
    const FrameHeader own = machine.word(0), other = peer.word(0);
    if (hears) {
      bytes += kFrameHeaderBytes;
      machine.heard(other);
    }
    if (is_heard) peer.heard(own);
    now += seconds(1);
    machine.look(bytes, now);
  }
  KeepAlive machine;
  std::uint64_t bytes = 0;
  TimePoint now{};
};

TEST(KeepAlive, PeerThatOnlySaysItsWordsLives) {
  for (const Sign sign : {Sign::kBytes, Sign::kAnswer}) {
    End end(sign);
    KeepAlive peer(kTimeout, sign);
    for (int i = 0; i < 20; ++i) end.pass(peer, true, true);
    EXPECT_FALSE(end.machine.is_dead());
    EXPECT_LE(end.machine.silent(), seconds(1));
  }
}

TEST(KeepAlive, SilentPeerIsGivenUpAfterHalfOfTheTimeout) {
  for (const Sign sign : {Sign::kBytes, Sign::kAnswer}) {
    End end(sign);
    KeepAlive peer(kTimeout, sign);
    for (int i = 0; i < 3; ++i) end.pass(peer, true, true);
    for (int i = 0; i < 6; ++i) {
      EXPECT_FALSE(end.machine.is_dead());
      end.pass(peer, false, false);
    }
    EXPECT_TRUE(end.machine.is_dead());
  }
}

TEST(KeepAlive, OneThatDoesNotHearIsGivenUpWhereAnswersCount) {
  for (const Sign sign : {Sign::kBytes, Sign::kAnswer}) {
    End end(sign);
    KeepAlive peer(kTimeout, sign);
    for (int i = 0; i < 3; ++i) end.pass(peer, true, true);
    for (int i = 0; i < 7; ++i) end.pass(peer, true, false);
    EXPECT_EQ(end.machine.is_dead(), sign == Sign::kAnswer);
  }
}

TEST(KeepAlive, OnesOwnPauseIsNobodysSilence) {
  End end(Sign::kAnswer);
  KeepAlive peer(kTimeout, Sign::kAnswer);
  for (int i = 0; i < 3; ++i) end.pass(peer, true, true);
  end.now += std::chrono::hours(1);
  end.machine.look(end.bytes, end.now);
  EXPECT_FALSE(end.machine.is_dead());
}

TEST(KeepAlive, PeerThatSaysNoWordsIsNotJudgedByItsBytes) {
  KeepAlive machine(kTimeout, Sign::kBytes);
  TimePoint now{};
  for (int i = 0; i < 20; ++i) machine.look(0, now += seconds(1));
  EXPECT_FALSE(machine.is_dead());
}

TEST(KeepAlive, WordsTellHowManyFramesWereHandled) {
  KeepAlive one(kTimeout, Sign::kAnswer), other(kTimeout, Sign::kAnswer);
  one.heard(other.word(17));
  EXPECT_EQ(one.acknowledged(), 17u);
}

/// Two ends of a connection that are kept alive with the timeout, if it is not zero.
struct Kept : ::testing::Test {
  void open(Duration client_timeout, Duration server_timeout) {
    client = listening.connect_with(credentials()).value();
    server = listening.accepted.take().value();
    listening.loop.run([&] {
      client->keep_alive(client_timeout, Sign::kAnswer);
      client->start(at_client);
      server->keep_alive(server_timeout, Sign::kAnswer);
      server->start(at_server);
    });
  }
  Listening listening;
  RecordingSink at_client, at_server;
  std::shared_ptr<Connection> client, server;
};

TEST_F(Kept, ConnectionGivesUpAPeerThatSaysNoWords) {
  open(milliseconds(120), {});
  const auto why = at_client.closed.take();
  ASSERT_TRUE(why);
  EXPECT_EQ(why->code, Errc::kTimeout);
  EXPECT_TRUE(at_server.closed.take());
  listening.loop.run([&] {
    client.reset();
    server.reset();
  });
}

TEST_F(Kept, ConnectionTellsWhatThePeerHasHandled) {
  open(seconds(12), seconds(12));
  FrameHeader frame;
  frame.type = FrameType::kProgress;
  listening.loop.run([&] {
    for (int i = 0; i < 3; ++i) client->send(frame, {});
  });
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(at_server.frames.take());
  const TimePoint give_up = std::chrono::steady_clock::now() + kPatience;
  const auto acknowledged = [&] { return listening.loop.run([&] { return client->acknowledged(); }); };
  while (acknowledged() < 3 && std::chrono::steady_clock::now() < give_up) std::this_thread::sleep_for(milliseconds(5));
  EXPECT_EQ(acknowledged(), 3u);
  EXPECT_EQ(at_client.frames.size(), 0u) << "words are not the sink's";
  at_client.end(listening.loop, *client);
  at_server.closed.take();
  listening.loop.run([&] {
    client.reset();
    server.reset();
  });
}

}  // namespace
}  // namespace tutti::testing
