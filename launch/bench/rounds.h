// SPDX-License-Identifier: Apache-2.0
// Rounds of an all-reduce without a model: the benches allreduce and pushpull, and the peers of tests/perf.
//
// How a round is timed. All ranks first meet in an exchange of 64 bytes, so that they begin within one latency of each
// other; then each takes the time of its own call, and the round's time is the slowest rank's. Small tensors are
// exchanged back to back in batches (256 KiB together, each with memory and numbers of its own), and the round's time
// is the batch's over their number: a clock and a meeting cost more than one of them. Writing the inputs and checking
// the results stand outside of the time: the ranks meet once more before they check, since with fewer cores than ranks
// one that is done early would take a core from one that is not. Thread safety: the training thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "common/dtype.h"
#include "launch/bench/report.h"

namespace tutti::bench {

/// Who reduces. Bucket 0 is the small one in which the ranks meet; the others are those that are measured.
class Collective {
 public:
  virtual ~Collective() = default;
  virtual int rank() const = 0;
  virtual int ranks() const = 0;
  virtual std::span<float> values(std::uint32_t bucket) = 0;
  /// Collective. Returns when the bucket holds the result.
  virtual void reduce(std::uint32_t bucket) = 0;
  virtual Reduction reduction() const = 0;
  virtual float tolerance() const = 0;  ///< relative; 0 where the result is to be exact
  /// Collective: every number becomes the ranks' greatest.
  virtual void max_over_ranks(std::vector<double>& numbers) = 0;
};

/// Elements of a bucket: of bucket 0, and of one that holds `bytes`.
std::size_t elements_of(std::uint32_t bucket, std::uint64_t bytes) noexcept;
/// Tensors of this size that are exchanged back to back.
std::size_t batch_size(std::uint64_t bytes) noexcept;
/// Batches to measure when one takes `us`: a second's, 20 at least.
int batches_for(double us) noexcept;

/// The buckets of one size, page by page, for a Collective that takes its tensors from anywhere.
class PlainMemory {
 public:
  explicit PlainMemory(std::uint64_t bytes);
  const std::vector<std::byte*>& places() const noexcept { return places_; }

 private:
  struct Free {
    void operator()(std::byte* memory) const noexcept { std::free(memory); }
  };
  std::unique_ptr<std::byte[], Free> memory_;
  std::vector<std::byte*> places_;
};

/// Collective. `rounds` batches (0: a second's) of buckets of `bytes`, every element of every result checked. Fills
/// the numbers; the caller adds names. Errors: tutti::Error naming the first wrong element.
Measurement measure_rounds(Collective& collective, std::uint64_t bytes, int rounds);

}  // namespace tutti::bench
