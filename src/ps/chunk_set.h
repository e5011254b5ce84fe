// SPDX-License-Identifier: Apache-2.0
// The contributions of all ranks to one chunk, one round at a time: collected in any order, reduced in rank order.
// Thread safety: owned by one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "ps/buffer_pool.h"
#include "ps/chunk_plan.h"
#include "ps/messages.h"

namespace tutti::ps {

/// What a push is to a chunk set.
enum class PushKind {
  kNew,        ///< a contribution that is missing
  kRepeat,     ///< of a contribution to the set that is being collected: never added twice
  kPast,       ///< of a round whose sum is complete
  kOutOfStep,  ///< of another round than the one being collected: the ranks are not in the same exchange
};

class ChunkSet {
 public:
  PushKind judge(int rank, const Round& round) const;
  /// The set takes the verified bytes (none from a rank that only receives). REQUIRES: judge() says kNew.
  void add(int rank, const Round& round, Buffer bytes, int world_size);
  bool complete() const noexcept { return collecting_ && missing_ == 0; }
  /// Reduces into the first contribution, gives the others back and waits for the next round. REQUIRES: complete().
  SharedBuffer reduce(const Chunk& chunk);

  /// The round being collected; none between two rounds.
  const std::optional<Round>& collecting() const noexcept { return collecting_; }
  bool has(int rank) const { return collecting_ && arrived_[static_cast<std::size_t>(rank)]; }

 private:
  std::optional<Round> collecting_;
  std::optional<Round> completed_;  // the latest
  std::vector<Buffer> contributions_;
  std::vector<bool> arrived_;
  int missing_ = 0;
};

}  // namespace tutti::ps
