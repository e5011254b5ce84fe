// SPDX-License-Identifier: Apache-2.0
#include "common/net/handshake_fsm.h"

#include <gmock/gmock.h>

#include <string_view>

namespace tutti {
namespace {

using Kind = HandshakeAction::Kind;
using Bytes = std::vector<std::byte>;
using ::testing::HasSubstr;

template <class Array>
Array filled(int value) {
  Array array;
  array.fill(static_cast<std::byte>(value));
  return array;
}

const Secret kSecret(filled<Digest>(7));
const Secret kOtherSecret(filled<Digest>(8));
const JobId kJob = filled<JobId>(1);
const JobId kOtherJob = filled<JobId>(2);
const PeerIdentity kSelf{Role::kServer, 3, 5, 2};

struct Pair {
  explicit Pair(const Secret& client_secret = kSecret, const JobId& client_job = kJob)
      : client(client_secret, client_job, kSelf, filled<Nonce>(20)), server(kSecret, kJob, filled<Nonce>(30)) {}

  /// The server's answer to a whole Hello.
  HandshakeAction greet(const Bytes& hello) {
    server.start();
    server.feed(std::span(hello).first(kMagicBytes));
    return server.feed(std::span(hello).subspan(kMagicBytes));
  }

  ClientHandshakeFsm client;
  ServerHandshakeFsm server;
};

TEST(Handshake, ProvesTheSecretBothWaysAndNamesTheClient) {
  Pair pair;
  const auto hello = pair.client.start();
  EXPECT_EQ(hello.kind, Kind::kSend);
  EXPECT_EQ(hello.send.size(), kHelloBytes);
  EXPECT_EQ(hello.need_bytes, kChallengeBytes);
  const auto first = pair.server.start();
  EXPECT_EQ(first.kind, Kind::kNeedMore);
  EXPECT_EQ(first.need_bytes, kMagicBytes);
  const auto second = pair.server.feed(std::span(hello.send).first(kMagicBytes));
  EXPECT_EQ(second.kind, Kind::kNeedMore);
  EXPECT_EQ(second.need_bytes, kHelloBytes - kMagicBytes);
  const auto challenge = pair.server.feed(std::span(hello.send).subspan(kMagicBytes));
  EXPECT_EQ(challenge.kind, Kind::kSend);
  EXPECT_EQ(challenge.send.size(), kChallengeBytes);
  EXPECT_EQ(challenge.need_bytes, kProofBytes);
  const auto proof = pair.client.feed(challenge.send);
  EXPECT_EQ(proof.kind, Kind::kSend);
  EXPECT_EQ(proof.send.size(), kProofBytes);
  EXPECT_EQ(proof.need_bytes, kVerdictBytes);
  const auto verdict = pair.server.feed(proof.send);
  EXPECT_EQ(verdict.kind, Kind::kDone);
  EXPECT_EQ(verdict.send.size(), kVerdictBytes);
  EXPECT_EQ(pair.client.feed(verdict.send).kind, Kind::kDone);
  EXPECT_EQ(pair.server.peer().role, Role::kServer);
  EXPECT_EQ(pair.server.peer().rank, 3);
  EXPECT_EQ(pair.server.peer().generation, 5u);
  EXPECT_EQ(pair.server.peer().connection, 2);
}

TEST(Handshake, ClientDropsAServerWithoutTheSecret) {
  Pair pair(kOtherSecret);
  const auto challenge = pair.greet(pair.client.start().send);
  const auto end = pair.client.feed(challenge.send);
  ASSERT_EQ(end.kind, Kind::kFailed);
  EXPECT_EQ(end.failure->code, Errc::kAuthentication);
  EXPECT_TRUE(end.send.empty()) << "nothing is proved to one who proved nothing";
}

TEST(Handshake, ServerRefusesAClientWithoutTheSecret) {
  Pair pair;
  pair.greet(pair.client.start().send);
  const auto end = pair.server.feed(Bytes(kProofBytes, std::byte{9}));
  ASSERT_EQ(end.kind, Kind::kFailed);
  EXPECT_EQ(end.failure->code, Errc::kAuthentication);
  EXPECT_EQ(end.send, Bytes{std::byte{1}});
}

TEST(Handshake, ServerRefusesAnotherJobAndBothLearnIt) {
  Pair pair(kSecret, kOtherJob);
  const auto challenge = pair.greet(pair.client.start().send);
  const auto refusal = pair.server.feed(pair.client.feed(challenge.send).send);
  ASSERT_EQ(refusal.kind, Kind::kFailed);
  EXPECT_EQ(refusal.failure->code, Errc::kAuthentication);
  EXPECT_THAT(refusal.failure->message, HasSubstr("another job"));
  const auto refused = pair.client.feed(refusal.send);
  ASSERT_EQ(refused.kind, Kind::kFailed);
  EXPECT_EQ(refused.failure->code, Errc::kAuthentication);
}

TEST(Handshake, ReplayedProofFailsUnderANewNonce) {
  Pair recorded;
  const Bytes hello = recorded.client.start().send;
  const Bytes proof = recorded.client.feed(recorded.greet(hello).send).send;
  ASSERT_EQ(recorded.server.feed(proof).kind, Kind::kDone);

  ServerHandshakeFsm later(kSecret, kJob, filled<Nonce>(31));
  later.start();
  later.feed(std::span(hello).first(kMagicBytes));
  ASSERT_EQ(later.feed(std::span(hello).subspan(kMagicBytes)).kind, Kind::kSend);
  const auto end = later.feed(proof);
  ASSERT_EQ(end.kind, Kind::kFailed);
  EXPECT_EQ(end.failure->code, Errc::kAuthentication);
}

TEST(Handshake, ServersOwnProofReflectedIsNoProof) {
  Pair pair;
  const auto challenge = pair.greet(pair.client.start().send);
  EXPECT_EQ(pair.server.feed(std::span(challenge.send).last(kProofBytes)).kind, Kind::kFailed);
}

TEST(Handshake, ClientDoesNotAcceptItsOwnHelloAsAChallenge) {
  Pair pair;
  Bytes reflected = pair.client.start().send;
  reflected.resize(kChallengeBytes);
  const auto end = pair.client.feed(reflected);
  ASSERT_EQ(end.kind, Kind::kFailed);
  EXPECT_EQ(end.failure->code, Errc::kAuthentication);
}

TEST(Handshake, ServerDropsAnHttpRequestAndATlsHelloAtTheMagic) {
  using namespace std::string_view_literals;
  for (const std::string_view start : {"GET / HT"sv, "\x16\x03\x01\x02\x00\x01\x00\x01"sv, "TUTTY\0\0\1"sv}) {
    ServerHandshakeFsm server(kSecret, kJob, filled<Nonce>(30));
    server.start();
    const auto end = server.feed(std::as_bytes(std::span(start)));
    ASSERT_EQ(end.kind, Kind::kFailed);
    EXPECT_EQ(end.failure->code, Errc::kProtocol);
    EXPECT_TRUE(end.send.empty());
  }
}

TEST(Handshake, AnotherVersionOfTheProtocolIsAMismatch) {
  Pair pair;
  Bytes hello = pair.client.start().send;
  hello[kMagicBytes - 1] ^= std::byte{2};
  pair.server.start();
  const auto end = pair.server.feed(std::span(hello).first(kMagicBytes));
  ASSERT_EQ(end.kind, Kind::kFailed);
  EXPECT_EQ(end.failure->code, Errc::kMismatch);
}

TEST(Handshake, ServerRefusesARoleThatDoesNotExist) {
  Pair pair;
  Bytes hello = pair.client.start().send;
  hello[kMagicBytes] = std::byte{3};
  const auto end = pair.greet(hello);
  ASSERT_EQ(end.kind, Kind::kFailed);
  EXPECT_EQ(end.failure->code, Errc::kProtocol);
}

TEST(Handshake, EveryFlippedBitOfAnyMessageFails) {
  for (std::size_t bit = 0; bit < 8 * (kHelloBytes + kChallengeBytes + kProofBytes); ++bit) {
    Pair pair;
    std::size_t position = bit;
    const auto flip = [&](Bytes bytes) {
      if (position < 8 * bytes.size()) bytes[position / 8] ^= std::byte{1} << (position % 8);
      position -= 8 * bytes.size();  // wraps around to far beyond every message
      return bytes;
    };
    const Bytes hello = flip(pair.client.start().send);
    pair.server.start();
    if (pair.server.feed(std::span(hello).first(kMagicBytes)).kind == Kind::kFailed) continue;
    const auto challenge = pair.server.feed(std::span(hello).subspan(kMagicBytes));
    if (challenge.kind == Kind::kFailed) continue;
    const auto proof = pair.client.feed(flip(challenge.send));
    if (proof.kind == Kind::kFailed) continue;
    EXPECT_EQ(pair.server.feed(flip(proof.send)).kind, Kind::kFailed) << "bit " << bit;
  }
}

TEST(Handshake, MessageCutShortIsAProtocolFailureAtEveryByte) {
  for (std::size_t size = 0; size < kChallengeBytes; ++size) {
    Pair pair;
    Bytes challenge = pair.greet(pair.client.start().send).send;
    challenge.resize(size);
    const auto end = pair.client.feed(challenge);
    ASSERT_EQ(end.kind, Kind::kFailed) << size;
    EXPECT_EQ(end.failure->code, Errc::kProtocol);
  }
  for (std::size_t size = 0; size < kProofBytes; ++size) {
    Pair pair;
    Bytes proof = pair.client.feed(pair.greet(pair.client.start().send).send).send;
    proof.resize(size);
    EXPECT_EQ(pair.server.feed(proof).kind, Kind::kFailed) << size;
  }
}

TEST(Handshake, NothingIsLookedAtAfterAFailure) {
  Pair pair;
  const auto challenge = pair.greet(pair.client.start().send);
  const Bytes proof = pair.client.feed(challenge.send).send;
  ASSERT_EQ(pair.server.feed(Bytes(kProofBytes)).kind, Kind::kFailed);
  EXPECT_EQ(pair.server.feed(proof).kind, Kind::kFailed);
}

}  // namespace
}  // namespace tutti
