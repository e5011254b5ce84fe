// SPDX-License-Identifier: Apache-2.0
// Where in the data the next iteration is. Within an epoch that is a number of samples, not of steps: a run that goes
// on with another number of ranks deals out what is left of the epoch's order, so that every sample of the epoch is
// seen once. Thread safety: values.
#pragma once

#include <cstdint>

namespace tutti::worker {

class ShardedOrder;

struct DataPosition {
  std::int64_t epoch = 0;
  std::int64_t step_in_epoch = 0;  ///< since the epoch began, or since this run went on in it
  std::int64_t step = 0;           ///< optimizer steps over the whole run

  // How the epoch's samples are dealt out; zeros where the program does that by itself.
  std::int64_t samples = 0;           ///< of the data set
  std::int64_t samples_before = 0;    ///< that all ranks had seen before step_in_epoch 0
  std::int64_t samples_per_step = 0;  ///< of all ranks
  std::int64_t order_ranks = 0;       ///< whose order the epoch has: that of the world in which it began

  std::int64_t samples_seen() const noexcept { return samples_before + step_in_epoch * samples_per_step; }
  /// Where a step of this epoch, and where the epoch, is done.
  void end_step() noexcept;
  void end_epoch() noexcept;
  /// The same position for a run that goes on from here, in whatever world.
  DataPosition to_go_on_from() const noexcept;
};

/// Has `order` begin the position's epoch where the position is in it, and the position know how its samples are dealt
/// out. Throws MismatchError when the epoch began with another number of samples.
void begin_epoch(ShardedOrder& order, DataPosition& position);

}  // namespace tutti::worker
