// SPDX-License-Identifier: Apache-2.0
// The mutual proof of the job's secret that opens every connection, as a machine without I/O.
//   client -> server  Hello      magic and version (8), role u8, connection u8, reserved (2), rank i32,
//                                generation u32, job id (16), client nonce (32)
//   server -> client  Challenge  magic and version (8), server nonce (32),
//                                HMAC(secret, "tutti server", Hello, server nonce) (32)
//   client -> server  Proof      HMAC(secret, "tutti client", Hello, Challenge) (32)
//   server -> client  Verdict    u8: 0 welcome, 1 refused
// A peer that is not tutti is dropped at the magic; nothing that follows a failed proof is looked at. A member of
// another job that shares the secret is refused by the verdict, so that it learns why. A replayed Hello or Proof fails
// because the other side's nonce is new each time; a reflected one because the two labels differ.
// Thread safety: owned by one thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "common/secret.h"

namespace tutti {

inline constexpr std::size_t kMagicBytes = 8;
inline constexpr std::size_t kHelloBytes = 68;
inline constexpr std::size_t kChallengeBytes = 72;
inline constexpr std::size_t kProofBytes = 32;
inline constexpr std::size_t kVerdictBytes = 1;

enum class Role : std::uint8_t { kWorker = 0, kServer = 1, kAgent = 2 };
constexpr Role last_enumerator(Role) {
  return Role::kAgent;
}
using JobId = std::array<std::byte, 16>;

struct PeerIdentity {
  Role role = Role::kWorker;
  std::int32_t rank = 0;
  std::uint32_t generation = 0;
  std::uint8_t connection = 0;  ///< which of several between the same two processes
};

/// What the machine asks its shell to do after it was given bytes.
struct HandshakeAction {
  enum class Kind { kNeedMore, kSend, kDone, kFailed } kind = Kind::kNeedMore;
  std::size_t need_bytes = 0;      ///< kNeedMore, kSend: exactly so many bytes are to be fed next (0: none)
  std::vector<std::byte> send;     ///< kSend, kDone, kFailed: to be written first (may be empty)
  std::optional<Failure> failure;  ///< kFailed
};

/// Fails with kAuthentication (the secret, the job), kProtocol (not tutti), kMismatch (another version of the
/// protocol).
class ClientHandshakeFsm {
 public:
  ClientHandshakeFsm(const Secret& secret, const JobId& job, const PeerIdentity& self, const Nonce& nonce);
  HandshakeAction start();
  HandshakeAction feed(std::span<const std::byte> bytes);

 private:
  enum class State { kIdle, kChallenge, kVerdict, kDone };
  HandshakeAction answer(std::span<const std::byte> challenge);

  const Secret secret_;
  std::vector<std::byte> hello_;
  State state_ = State::kIdle;
};

class ServerHandshakeFsm {
 public:
  ServerHandshakeFsm(const Secret& secret, const JobId& job, const Nonce& nonce);
  HandshakeAction start();
  HandshakeAction feed(std::span<const std::byte> bytes);
  /// REQUIRES: kDone was returned.
  const PeerIdentity& peer() const { return peer_; }

 private:
  enum class State { kIdle, kMagic, kHello, kProof, kDone };
  HandshakeAction challenge();
  HandshakeAction judge(std::span<const std::byte> proof);

  const Secret secret_;
  const JobId job_;
  const Nonce nonce_;
  std::vector<std::byte> hello_;
  std::vector<std::byte> challenge_;
  PeerIdentity peer_;
  State state_ = State::kIdle;
};

}  // namespace tutti
