// SPDX-License-Identifier: Apache-2.0
// The target of one message type for each number (input: u16 number, then the message's bytes). What decodes encodes to
// the same bytes again, so that no two texts say the same, and costs memory in proportion to what came.
#pragma once

#include <array>
#include <type_traits>

#include "common/bounded_archive.h"
#include "tests/fuzz/target.h"

namespace tutti::fuzz {

/// A container's elements may be larger in memory than on the wire: a text of 32 bytes comes as 8. A growing text at
/// most doubles, and a refusal says why in some hundred bytes.
constexpr std::size_t message_block_bytes_max(std::size_t input_bytes) {
  return 64 * input_bytes + 4096;
}

inline void expect_same_bytes(std::string_view encoded, std::span<const std::byte> bytes) {
  TUTTI_ASSERT(std::ranges::equal(std::as_bytes(std::span(encoded)), bytes), "a message encodes as it was decoded");
}

/// `use` gets the message.
template <class Message, class Use>
void check_message(std::span<const std::byte> bytes, Use use) {
  const AllocationWatch watch;
  auto message = decode<Message>(bytes);
  TUTTI_ASSERT(watch.largest() <= message_block_bytes_max(bytes.size()),
               "memory follows what came, not what it claims");
  if (!message) {
    TUTTI_ASSERT(message.error().code == Errc::kProtocol, "bytes that are no message are a fault of the protocol");
    return;
  }
  expect_same_bytes(encode(*message), bytes);
  use(*message);
  accept();
}
template <class Message>
void check_message(std::span<const std::byte> bytes) {
  check_message<Message>(bytes, [](const Message&) {});
}

using MessageCheck = void (*)(std::span<const std::byte>);

/// The corpus counts on the order: new ones come last.
template <std::size_t kCount>
void run_message_target(const std::array<MessageCheck, kCount>& checks, const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  checks[input.up_to(kCount - 1)](input.rest());
}

}  // namespace tutti::fuzz
