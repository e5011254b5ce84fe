// SPDX-License-Identifier: Apache-2.0
// One chunk's sum, from where its contributions lie to where the result goes: in one pass over all of it, or block by
// block, written down in a journal, where inputs must outlive the shard until their result is whole.
// Thread safety: owned by one thread, which may have helpers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "common/copy_meter.h"
#include "ps/byte_ranges.h"
#include "ps/chunk_journal.h"
#include "ps/chunk_plan.h"
#include "ps/not_finite.h"
#include "ps/sum_threads.h"

namespace tutti::ps {

/// Where sums into buckets are written down; null: they are made where they go.
struct SumJournal {
  std::optional<ChunkJournal> journal;
  int shard = 0;
  std::uint32_t generation = 1;
};

/// What a sum needs besides its numbers; null: sums on the calling thread, nothing is counted.
struct SumTools {
  SumThreads* threads = nullptr;
  CopyMeter* meter = nullptr;
};

struct ChunkSum {
  struct Known {
    ByteRanges ranges;  ///< that hold the result already; cut between blocks
    const std::byte* at;
  };
  const Chunk& chunk;
  std::vector<const std::byte*> from;  ///< one: it is its own sum and its own average
  std::vector<std::byte*> into;        ///< may be among those
  std::vector<Known> known = {};       ///< contributions that were summed in part, by a shard that was lost
  bool is_result = false;              ///< what there is one of in `from` is the result, whoever made it
};

/// What of floating-point sums is not finite is noted in `not_finite`: it costs nothing where all is. In one pass, but
/// block by block where some are known.
void sum(const ChunkSum& chunk_sum, const SumTools& tools, NotFiniteElements& not_finite);
/// Each block into the scratch of its part first, and then to its places.
void sum(const ChunkSum& chunk_sum, const SumTools& tools, NotFiniteElements& not_finite, SumJournal& journal,
         const Round& round);

}  // namespace tutti::ps
