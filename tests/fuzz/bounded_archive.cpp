// SPDX-License-Identifier: Apache-2.0
// The archive behind all messages, with every kind of member that a message may have: those that contain each other,
// too. What decodes is equal after another round, and costs memory in proportion to what came.

#include "tests/fuzz/everything.h"
#include "tests/fuzz/message_target.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tutti;
  const auto bytes = std::as_bytes(std::span(data, size));
  const fuzz::AllocationWatch watch;
  const auto message = decode<fuzz::Everything>(bytes);
  TUTTI_ASSERT(watch.largest() <= fuzz::message_block_bytes_max(size), "memory follows what came, not what it claims");
  if (!message) return 0;
  const std::string encoded = encode(*message);
  TUTTI_ASSERT(encoded.size() <= size, "nothing is made up");  // a key that comes twice is one
  const auto again = decode<fuzz::Everything>(std::as_bytes(std::span(encoded)));
  TUTTI_ASSERT(again && *again == *message, "what was decoded survives another round");
  fuzz::accept();
  return 0;
}
