// SPDX-License-Identifier: Apache-2.0
#include "common/net/handshake_fsm.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "common/net/little_endian.h"

namespace tutti {
namespace {

using Bytes = std::vector<std::byte>;
using ActionKind = HandshakeAction::Kind;

constexpr std::string_view kName = "TUTTI";
constexpr std::array<std::uint8_t, 3> kProtocolVersion = {0, 0, 2};
static_assert(kName.size() + kProtocolVersion.size() == kMagicBytes);

constexpr std::byte kWelcome{0};
constexpr std::byte kRefused{1};

void append(Bytes& to, std::span<const std::byte> bytes) {
  to.insert(to.end(), bytes.begin(), bytes.end());
}

void append_magic(Bytes& to) {
  append(to, std::as_bytes(std::span(kName)));
  append(to, std::as_bytes(std::span(kProtocolVersion)));
}

Bytes make_hello(const JobId& job, const PeerIdentity& self, const Nonce& nonce) {
  Bytes hello;
  append_magic(hello);
  hello.push_back(static_cast<std::byte>(self.role));
  hello.push_back(static_cast<std::byte>(self.connection));
  hello.resize(kMagicBytes + 12);
  std::byte* at = hello.data() + kMagicBytes + 4;
  put_little_endian(at, static_cast<std::uint32_t>(self.rank));
  put_little_endian(at, self.generation);
  append(hello, job);
  append(hello, nonce);
  return hello;
}

Digest prove(const Secret& secret, std::string_view label, std::span<const std::byte> first,
             std::span<const std::byte> second) {
  Bytes message;
  append(message, std::as_bytes(std::span(label)));
  append(message, first);
  append(message, second);
  return hmac_sha256(secret, message);
}

bool is_proof(std::span<const std::byte> bytes, const Digest& expected) {
  Digest digest;
  std::ranges::copy(bytes, digest.begin());
  return equal_in_constant_time(digest, expected);
}

HandshakeAction need(std::size_t bytes) {
  return {ActionKind::kNeedMore, bytes, {}, {}};
}
HandshakeAction send(Bytes bytes, std::size_t need_bytes) {
  return {ActionKind::kSend, need_bytes, std::move(bytes), {}};
}
HandshakeAction failed(Errc code, std::string message, Bytes last_words = {}) {
  return {ActionKind::kFailed, 0, std::move(last_words), fail(code, std::move(message))};
}

HandshakeAction wrong_length() {
  return failed(Errc::kProtocol, "the handshake was cut short");
}

/// The failure of eight bytes that are not this version's magic; nothing when they are.
std::optional<HandshakeAction> check_magic(std::span<const std::byte> bytes) {
  if (!std::ranges::equal(bytes.first(kName.size()), std::as_bytes(std::span(kName)))) {
    return failed(Errc::kProtocol, "the peer does not speak tutti's protocol");
  }
  if (!std::ranges::equal(bytes.subspan(kName.size(), kProtocolVersion.size()),
                          std::as_bytes(std::span(kProtocolVersion)))) {
    return failed(Errc::kMismatch, "the peer speaks another version of tutti's protocol");
  }
  return std::nullopt;
}

}  // namespace

ClientHandshakeFsm::ClientHandshakeFsm(const Secret& secret, const JobId& job, const PeerIdentity& self,
                                       const Nonce& nonce)
    : secret_(secret), hello_(make_hello(job, self, nonce)) {}

HandshakeAction ClientHandshakeFsm::start() {
  state_ = State::kChallenge;
  return send(hello_, kChallengeBytes);
}

HandshakeAction ClientHandshakeFsm::feed(std::span<const std::byte> bytes) {
  const State state = std::exchange(state_, State::kDone);
  if (state == State::kChallenge && bytes.size() == kChallengeBytes) return answer(bytes);
  if (state == State::kVerdict && bytes.size() == kVerdictBytes) {
    if (bytes[0] == kWelcome) return {ActionKind::kDone, 0, {}, {}};
    return failed(Errc::kAuthentication, "the peer refused this process: it is of another job");
  }
  return wrong_length();
}

HandshakeAction ClientHandshakeFsm::answer(std::span<const std::byte> challenge) {
  if (auto failure = check_magic(challenge.first(kMagicBytes))) return *std::move(failure);
  const auto nonce = challenge.subspan(kMagicBytes, sizeof(Nonce));
  if (!is_proof(challenge.last(sizeof(Digest)), prove(secret_, "tutti server", hello_, nonce))) {
    return failed(Errc::kAuthentication, "the peer did not prove the job's secret");
  }
  state_ = State::kVerdict;
  const Digest proof = prove(secret_, "tutti client", hello_, challenge);
  return send(Bytes(proof.begin(), proof.end()), kVerdictBytes);
}

ServerHandshakeFsm::ServerHandshakeFsm(const Secret& secret, const JobId& job, const Nonce& nonce)
    : secret_(secret), job_(job), nonce_(nonce) {}

HandshakeAction ServerHandshakeFsm::start() {
  state_ = State::kMagic;
  return need(kMagicBytes);
}

HandshakeAction ServerHandshakeFsm::feed(std::span<const std::byte> bytes) {
  const State state = std::exchange(state_, State::kDone);
  if (state == State::kMagic && bytes.size() == kMagicBytes) {
    if (auto failure = check_magic(bytes)) return *std::move(failure);
    append(hello_, bytes);
    state_ = State::kHello;
    return need(kHelloBytes - kMagicBytes);
  }
  if (state == State::kHello && bytes.size() == kHelloBytes - kMagicBytes) {
    append(hello_, bytes);
    return challenge();
  }
  if (state == State::kProof && bytes.size() == kProofBytes) return judge(bytes);
  return wrong_length();
}

HandshakeAction ServerHandshakeFsm::challenge() {
  const std::byte* at = hello_.data() + kMagicBytes;
  const auto role = get_little_endian<std::uint8_t>(at);
  peer_.connection = get_little_endian<std::uint8_t>(at);
  const auto reserved = get_little_endian<std::uint16_t>(at);
  if (role > static_cast<std::uint8_t>(Role::kAgent) || reserved != 0) {
    return failed(Errc::kProtocol, "the peer claims a role that does not exist");
  }
  peer_.role = static_cast<Role>(role);
  peer_.rank = static_cast<std::int32_t>(get_little_endian<std::uint32_t>(at));
  peer_.generation = get_little_endian<std::uint32_t>(at);
  append_magic(challenge_);
  append(challenge_, nonce_);
  append(challenge_, prove(secret_, "tutti server", hello_, nonce_));
  state_ = State::kProof;
  return send(challenge_, kProofBytes);
}

HandshakeAction ServerHandshakeFsm::judge(std::span<const std::byte> proof) {
  if (!is_proof(proof, prove(secret_, "tutti client", hello_, challenge_))) {
    return failed(Errc::kAuthentication, "the peer did not prove the job's secret", {kRefused});
  }
  if (!std::ranges::equal(std::span(hello_).subspan(kMagicBytes + 12, sizeof(JobId)), job_)) {
    return failed(Errc::kAuthentication, "the peer is of another job", {kRefused});
  }
  return {ActionKind::kDone, 0, {kWelcome}, {}};
}

}  // namespace tutti
