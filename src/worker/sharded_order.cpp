// SPDX-License-Identifier: Apache-2.0
#include "worker/sharded_order.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "common/assert.h"

namespace tutti::worker {
namespace {

std::uint64_t split_mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

/// A number below `bound`, without the bias of a plain remainder (Lemire, TOMACS 2019). Written out because the
/// standard library's distributions and shuffle differ from one implementation to the next. 64 bits times 64 bits.
__extension__ using Wide = unsigned __int128;

std::uint64_t below(std::uint64_t bound, std::uint64_t& state) {
  for (;;) {
    const Wide product = static_cast<Wide>(split_mix(state++)) * bound;
    if (static_cast<std::uint64_t>(product) >= (0 - bound) % bound) return static_cast<std::uint64_t>(product >> 64);
  }
}

}  // namespace

std::uint64_t mix(std::uint64_t a, std::uint64_t b, std::uint64_t c) {
  return split_mix(split_mix(split_mix(a) ^ b) ^ c);
}

ShardedOrder::ShardedOrder(std::size_t samples, std::size_t batch, int ranks, std::uint64_t seed, LastBatch last)
    : samples_(samples), batch_(batch), ranks_(ranks), seed_(seed), last_(last) {}

std::size_t ShardedOrder::count_steps(std::size_t start) const noexcept {
  const std::size_t left = samples_ - std::min(start, samples_);
  return last_ == LastBatch::kDrop ? left / samples_per_step() : (left + samples_per_step() - 1) / samples_per_step();
}

void ShardedOrder::begin_epoch(std::uint64_t epoch, const EpochStart& start) {
  order_.resize(samples_);
  std::iota(order_.begin(), order_.end(), std::size_t{0});
  std::uint64_t state = mix(seed_, epoch, static_cast<std::uint64_t>(start.ranks > 0 ? start.ranks : ranks_));
  for (std::size_t i = samples_; i > 1; --i) std::swap(order_[i - 1], order_[below(i, state)]);
  start_ = start.samples;
}

std::vector<std::size_t> ShardedOrder::indices(std::size_t step, int rank) const {
  TUTTI_ASSERT(!order_.empty() && step < steps(), "a step outside the epoch");
  const std::size_t first =
      start_ + (step * static_cast<std::size_t>(ranks_) + static_cast<std::size_t>(rank)) * batch_;
  std::vector<std::size_t> result(batch_);
  for (std::size_t i = 0; i < batch_; ++i) result[i] = order_[(first + i) % samples_];
  return result;
}

}  // namespace tutti::worker
