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

class ShardedOrder {
 public:
  ShardedOrder(std::size_t samples, std::size_t batch, int ranks, std::uint64_t seed,
               LastBatch last = LastBatch::kWrap);

  std::size_t steps_per_epoch() const noexcept { return steps_; }
  /// Draws the permutation of `epoch`.
  void begin_epoch(std::uint64_t epoch);
  /// The samples of one step of one rank, `batch` of them. REQUIRES: step < steps_per_epoch(), begin_epoch() was
  /// called.
  std::vector<std::size_t> indices(std::size_t step, int rank) const;

 private:
  const std::size_t samples_, batch_;
  const int ranks_;
  const std::uint64_t seed_;
  const std::size_t steps_;
  std::vector<std::size_t> order_;
};

}  // namespace tutti::worker
