// SPDX-License-Identifier: Apache-2.0
// Both sides of the handshake, against a stranger that says anything (input: u16, 0 to the server or 1 to the client,
// then messages, each after a byte by which its length is off), and against one that changes bytes of an honest
// conversation (2, then u8 position and u8 change each).
#include <array>
#include <utility>
#include <vector>

#include "common/net/handshake_fsm.h"
#include "tests/fuzz/seeds.h"
#include "tests/fuzz/target.h"

namespace tutti::fuzz {
namespace {

using Bytes = std::vector<std::byte>;
using Kind = HandshakeAction::Kind;

constexpr std::size_t kConversationBytes = kHelloBytes + kChallengeBytes + kProofBytes + kVerdictBytes;

void check_action(const HandshakeAction& action) {
  TUTTI_ASSERT(action.send.size() <= kChallengeBytes, "an answer is no longer than the longest message");
  TUTTI_ASSERT(action.need_bytes <= kChallengeBytes, "no stranger makes the shell allocate more than a message");
  TUTTI_ASSERT((action.kind == Kind::kFailed) == action.failure.has_value(), "a failure says why");
}

/// Returns what was said up to the end.
template <class Machine>
std::pair<Kind, Bytes> listen(Machine& machine, Input& input) {
  Bytes said;
  HandshakeAction action = machine.start();
  while (action.kind == Kind::kNeedMore || action.kind == Kind::kSend) {
    check_action(action);
    const std::size_t off = input.number<std::uint8_t>();
    const auto message = input.take(action.need_bytes + off);
    const bool whole = message.size() == action.need_bytes;
    said.insert(said.end(), message.begin(), message.end());
    action = machine.feed(message);
    TUTTI_ASSERT(whole || action.kind == Kind::kFailed, "a message of another length is refused");
  }
  check_action(action);
  TUTTI_ASSERT(machine.feed(input.take(kProofBytes)).kind == Kind::kFailed, "nothing is heard after the end");
  return {action.kind, said};
}

/// Whoever is welcome said byte for byte what an honest client of that name says.
void as_server(Input& input) {
  ServerHandshakeFsm server = seed_server();
  const auto [end, said] = listen(server, input);
  if (end != Kind::kDone) return;
  Nonce nonce;
  std::copy_n(said.begin() + (kHelloBytes - sizeof(Nonce)), sizeof(Nonce), nonce.begin());
  ClientHandshakeFsm client(seed_secret(), seed_job(), server.peer(), nonce);
  Bytes honest = client.start().send;
  ServerHandshakeFsm again = seed_server();
  again.start();
  again.feed(std::span(honest).first(kMagicBytes));
  const Bytes proof = client.feed(again.feed(std::span(honest).subspan(kMagicBytes)).send).send;
  honest.insert(honest.end(), proof.begin(), proof.end());
  TUTTI_ASSERT(said == honest, "only the honest are welcome");
  accept();
}

void as_client(Input& input) {
  ClientHandshakeFsm client = seed_client();
  const auto [end, said] = listen(client, input);
  if (end != Kind::kDone) return;
  Bytes honest = seed_conversation().challenge;
  honest.push_back(std::byte{0});
  TUTTI_ASSERT(said == honest, "only an honest server is believed");
  accept();
}

void as_eavesdropper(Input& input) {
  std::array<std::byte, kConversationBytes> changes{};
  while (!input.empty()) {
    const std::size_t position = input.number<std::uint8_t>() % kConversationBytes;
    changes[position] ^= static_cast<std::byte>(input.number<std::uint8_t>());
  }
  auto next = changes.begin();
  const auto passed_on = [&](Bytes message) {
    for (std::byte& byte : message) byte ^= *next++;
    return message;
  };

  ClientHandshakeFsm client = seed_client();
  ServerHandshakeFsm server = seed_server();
  server.start();
  const Bytes hello = passed_on(client.start().send);
  HandshakeAction action = server.feed(std::span(hello).first(kMagicBytes));
  if (action.kind == Kind::kNeedMore) action = server.feed(std::span(hello).subspan(kMagicBytes));
  if (action.kind == Kind::kSend) action = client.feed(passed_on(std::move(action.send)));
  if (action.kind == Kind::kSend) action = server.feed(passed_on(std::move(action.send)));
  if (action.kind == Kind::kDone) action = client.feed(passed_on(std::move(action.send)));
  const bool untouched = std::ranges::all_of(changes, [](std::byte change) { return change == std::byte{}; });
  TUTTI_ASSERT((action.kind == Kind::kDone) == untouched, "the two agree if and only if nobody changed a byte");
  if (untouched) accept();
}

}  // namespace
}  // namespace tutti::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tutti::fuzz;
  Input input(data, size);
  switch (input.up_to(2)) {
    case 0:
      as_server(input);
      break;
    case 1:
      as_client(input);
      break;
    default:
      as_eavesdropper(input);
  }
  return 0;
}
