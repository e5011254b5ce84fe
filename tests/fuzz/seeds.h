// SPDX-License-Identifier: Apache-2.0
// The one conversation that the handshake's target and its corpus are about.
#pragma once

#include <algorithm>
#include <vector>

#include "common/net/handshake_fsm.h"

namespace tutti::fuzz {

template <class Array>
Array filled(unsigned char value) {
  Array array;
  std::ranges::fill(array, static_cast<std::byte>(value));
  return array;
}

inline Secret seed_secret() {
  return Secret(filled<Digest>(7));
}
inline JobId seed_job() {
  return filled<JobId>(1);
}
inline ClientHandshakeFsm seed_client() {
  return {seed_secret(), seed_job(), {Role::kServer, 3, 5, 2}, filled<Nonce>(20)};
}
inline ServerHandshakeFsm seed_server() {
  return {seed_secret(), seed_job(), filled<Nonce>(30)};
}

struct Conversation {
  std::vector<std::byte> hello, challenge, proof;
};
inline Conversation seed_conversation() {
  Conversation said;
  ClientHandshakeFsm client = seed_client();
  ServerHandshakeFsm server = seed_server();
  said.hello = client.start().send;
  server.start();
  server.feed(std::span(said.hello).first(kMagicBytes));
  said.challenge = server.feed(std::span(said.hello).subspan(kMagicBytes)).send;
  said.proof = client.feed(said.challenge).send;
  return said;
}

}  // namespace tutti::fuzz
