// SPDX-License-Identifier: Apache-2.0
// The contributions of all ranks to one chunk, one round at a time: collected in any order, reduced in rank order. A
// contribution was received, or lies in the rank's own bucket, which this process shares with it: then the bucket is
// where the result goes, too.
// Thread safety: owned by one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "ps/buffer_pool.h"
#include "ps/chunk_plan.h"
#include "ps/chunk_sum.h"
#include "ps/messages.h"

namespace tutti::ps {

/// What a push is to a chunk set.
enum class PushKind {
  kNew,        ///< a contribution that is missing
  kRepeat,     ///< of a contribution to the set that is being collected: never added twice
  kPast,       ///< of a round whose sum is complete
  kOutOfStep,  ///< of another round than the one being collected: the ranks are not in the same exchange
};

/// Both null: of a rank that only receives a broadcast.
struct Contribution {
  Buffer received;
  std::shared_ptr<std::byte> in_place;  ///< the chunk in the rank's bucket
  bool is_result = false;               ///< not the rank's input: the result, from a generation before
  ByteRanges result_ranges = {};        ///< the rank's input, but for these bytes of the result
};

struct Reduced {
  SharedBuffer result;  ///< what is sent to ranks elsewhere
  std::vector<NotFiniteElement> not_finite;
};

class ChunkSet {
 public:
  PushKind judge(int rank, const Round& round) const;
  /// The set takes the verified bytes. REQUIRES: judge() says kNew.
  void add(int rank, const Round& round, Contribution contribution, int world_size);
  bool complete() const noexcept { return collecting_ && missing_ == 0; }
  /// Whether reduce() needs a buffer of its own: what is sent to ranks elsewhere lies in a bucket here.
  bool needs_spare() const;
  /// Writes the result to every bucket that lies here, gives the contributions back and waits for the next round. The
  /// result is the sum (a broadcast: rank 0's bytes), or, of all bytes or of some, what a contribution says is the
  /// result.
  /// Returns the memory from which the result is sent to the other ranks: a buffer that was received, or `spare`; null
  /// where every rank's bucket lies here. A bucket would not do, since its rank goes on with it as soon as it has its
  /// result. REQUIRES: complete().
  Reduced reduce(const Chunk& chunk, Buffer spare, const SumTools& tools, SumJournal& journal);

  /// The round being collected; none between two rounds.
  const std::optional<Round>& collecting() const noexcept { return collecting_; }
  bool has(int rank) const { return collecting_ && arrived_[static_cast<std::size_t>(rank)]; }
  /// REQUIRES: has(rank).
  bool has_result(int rank) const { return contributions_[static_cast<std::size_t>(rank)].is_result; }

 private:
  std::vector<ChunkSum::Known> known_parts();

  std::optional<Round> collecting_;
  std::optional<Round> completed_;  // the latest
  std::vector<Contribution> contributions_;
  std::vector<bool> arrived_;
  int missing_ = 0;
};

}  // namespace tutti::ps
