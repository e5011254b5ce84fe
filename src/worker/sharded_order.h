// SPDX-License-Identifier: Apache-2.0
// Which samples a rank sees in which step. The order of an epoch is a permutation drawn from (seed, epoch, number of
// ranks); step s of rank r takes the r-th block of the s-th global batch. Every rank has the same number of steps: the
// last batch is filled up from the epoch's beginning, or dropped. Thread safety: values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tutti::worker {

/// A well-mixed 64-bit number of several (SplitMix64, Steele et al., OOPSLA 2014).
std::uint64_t mix(std::uint64_t a, std::uint64_t b, std::uint64_t c = 0);

enum class LastBatch { kWrap, kDrop };

/// Where an epoch is begun: not at its first sample where a run goes on that began in another world.
struct EpochStart {
  std::size_t samples = 0;  ///< of the epoch's order that were seen before
  int ranks = 0;            ///< for which the order is drawn; 0: those of this world
};

class ShardedOrder {
 public:
  ShardedOrder(std::size_t samples, std::size_t batch, int ranks, std::uint64_t seed,
               LastBatch last = LastBatch::kWrap);

  std::size_t samples() const noexcept { return samples_; }
  int ranks() const noexcept { return ranks_; }
  std::size_t samples_per_step() const noexcept { return batch_ * static_cast<std::size_t>(ranks_); }
  /// Of a whole epoch.
  std::size_t steps_per_epoch() const noexcept { return count_steps(0); }
  /// Draws the permutation of `epoch`. What was seen of it before is left out.
  void begin_epoch(std::uint64_t epoch, const EpochStart& start = {});
  /// Of the epoch that was begun, from where it was begun.
  std::size_t steps() const noexcept { return count_steps(start_); }
  /// The samples of one step of one rank, `batch` of them. REQUIRES: step < steps(), begin_epoch() was called.
  std::vector<std::size_t> indices(std::size_t step, int rank) const;

 private:
  std::size_t count_steps(std::size_t start) const noexcept;

  const std::size_t samples_, batch_;
  const int ranks_;
  const std::uint64_t seed_;
  const LastBatch last_;
  std::vector<std::size_t> order_;
  std::size_t start_ = 0;  ///< in order_
};

}  // namespace tutti::worker
