// SPDX-License-Identifier: Apache-2.0
// A shard in reduce mode, without I/O: bulk-synchronous sums over complete sets of chunks. It holds nothing that
// outlives the step but the results that some rank may not have received, and nothing that outlives the generation.
// Frames in (who sent them is proven by the connection), sends out. Thread safety: owned by one thread.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "common/net/frame.h"
#include "common/result.h"
#include "ps/messages.h"
#include "ps/shard_object.h"

namespace tutti::ps {

struct ShardOptions {
  int index = 0;  ///< which shard this is
  int shards = 1;
  int world_size = 1;
  std::uint32_t generation = 1;  ///< the first; frames of another than the present one are refused
  int window_chunks = 8;         ///< credit of each of a rank's connections for each object
};

class ShardFsm {
 public:
  /// What `tools` point to outlives the machine.
  explicit ShardFsm(ShardOptions options, SumTools tools = {})
      : options_(options), tools_(tools), generation_(options.generation) {}

  /// Everything of older generations is dropped: whoever lives on opens its objects again and pushes what was not done.
  /// REQUIRES: a later generation than the present one; nothing is being received.
  void begin_generation(std::uint32_t generation);
  std::uint32_t generation() const noexcept { return generation_; }

  /// `rank` describes an object. The first one's table holds; another that differs is refused with kMismatch, naming
  /// the first difference. A higher plan number replaces the object once no set waits for anybody.
  Result<Opened> open(int rank, const FrameHeader& header, const ObjectTable& table);
  /// From here on the buckets of `rank` are read and written where they lie. REQUIRES: open() succeeded for them.
  void share(int rank, std::uint32_t object, HostPlaces places);
  /// Where the payload of a push goes; before a byte of it was read. kProtocol closes the connection it came on.
  /// `result_ranges` are those that a push with kHasRanges names.
  Result<std::span<std::byte>> place(int rank, const FrameHeader& push, int connection = 0,
                                     ByteRanges result_ranges = {});
  /// The push that was given its place last by `rank` on that connection is whole and its checksum holds.
  Result<ShardStep> pushed(int rank, const FrameHeader& push, int connection = 0);
  /// Who has not pushed the chunk that the question names.
  Result<Missing> answer(int rank, const FrameHeader& question) const;
  /// One of the rank's connections is gone.
  void lost(int rank, int connection = 0);

  /// Null when it is not open.
  const ShardObject* object(std::uint32_t number) const;

 private:
  Result<> check_sender(int rank, const FrameHeader& header) const;
  Result<> check_world(int rank, const ObjectTable& table) const;
  Result<> agree(int rank, const ObjectTable& table);
  Result<ShardObject*> opened_object(int rank, const FrameHeader& header);

  const ShardOptions options_;
  const SumTools tools_;
  std::uint32_t generation_;
  std::map<std::uint32_t, ShardObject> objects_;
};

}  // namespace tutti::ps
