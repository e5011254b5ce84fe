// SPDX-License-Identifier: Apache-2.0
// What clients and shards say to each other besides tensor bytes.
#include "ps/messages.h"
#include "tests/fuzz/message_target.h"

namespace tutti::fuzz {
namespace {

/// A table that passes the check has chunks that can be counted, and equals itself.
void check_open(std::span<const std::byte> bytes) {
  check_message<ps::OpenRequest>(bytes, [](const ps::OpenRequest& request) {
    const ps::ObjectTable& table = request.table;
    TUTTI_ASSERT(ps::first_difference(table, table).empty(), "a table does not differ from itself");
    if (!ps::check(table)) return;
    TUTTI_ASSERT(table.object < ps::kObjectsMax && table.chunk_bytes <= kPayloadBytesMax, "limits are checked");
    std::uint64_t chunks = 0;
    for (const BucketSpec& bucket : table.buckets) {
      TUTTI_ASSERT(bucket.elements <= ~std::uint64_t{0} / 8, "a bucket's bytes can be counted");
      chunks += bucket.bytes() / table.chunk_bytes;
    }
    TUTTI_ASSERT(chunks <= ps::kChunksMax, "no table makes a shard keep more chunks than the limit");
  });
}

void check_missing(std::span<const std::byte> bytes) {
  check_message<ps::Missing>(bytes, [](const ps::Missing& missing) {
    TUTTI_ASSERT(!ps::describe_ranks(missing.ranks).empty(), "who is missing can be told");
  });
}

void check_ranges(std::span<const std::byte> bytes) {
  check_message<ps::ResultRanges>(bytes, [](const ps::ResultRanges& result) {
    constexpr std::uint64_t kBytes = 1 << 20, kUnit = 64;
    if (!ps::are_within(result.ranges, kBytes, kUnit)) return;
    ps::ByteRanges again;
    for (const ps::ByteRange& range : result.ranges) ps::add(again, range);
    TUTTI_ASSERT(again == result.ranges, "ranges that are apart stay as they are");
  });
}

constexpr auto kChecks = std::to_array<MessageCheck>(
    {check_open, check_message<ps::Opened>, check_missing, check_ranges, check_message<ps::NotFiniteResult>});

}  // namespace
}  // namespace tutti::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tutti::fuzz::run_message_target(tutti::fuzz::kChecks, data, size);
  return 0;
}
