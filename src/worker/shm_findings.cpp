// SPDX-License-Identifier: Apache-2.0
#include "worker/shm_findings.h"

#include <algorithm>
#include <optional>

#include "ps/not_finite.h"
#include "ps/reduce.h"

namespace tutti::worker {
namespace {

/// A word about a rank's input to a block: the element, and whether it is the input that is not finite there, or only
/// the sum. 0: nothing.
struct Finding {
  std::uint32_t element = 0;
  bool is_own = false;

  std::uint32_t word() const { return (element + 1) << 1 | (is_own ? 1 : 0); }
  static std::optional<Finding> of(std::uint32_t word) {
    if (word == 0) return std::nullopt;
    return Finding{(word >> 1) - 1, (word & 1) != 0};
  }
};

}  // namespace

void ShmFindings::begin_block() {
  std::ranges::fill(words_, 0);
}

bool ShmFindings::sum(const BucketSpec& spec, std::uint64_t begin, std::span<const std::byte* const> inputs,
                      std::span<std::byte> into) {
  const std::size_t elements = into.size() / size_of(spec.dtype);
  const std::size_t summed = ps::reduce_while_finite(spec.dtype, spec.reduction, inputs, into);
  if (summed == elements) return true;
  look_closer(spec, begin / size_of(spec.dtype), inputs, summed, elements);
  return false;
}

/// Whose input it is that makes the sum of elements `first` to `end` not finite, where it begins.
void ShmFindings::look_closer(const BucketSpec& spec, std::size_t begin, std::span<const std::byte* const> inputs,
                              std::size_t first, std::size_t end) {
  const auto note = [&](std::optional<std::uint32_t> rank, std::size_t element) {
    std::uint32_t& word = words_[rank.value_or(0)];
    if (word == 0) word = Finding{static_cast<std::uint32_t>(begin + element), rank.has_value()}.word();
  };
  ps::blame_not_finite(spec.dtype, spec.reduction, inputs, first, end, note);
}

void ShmFindings::write(const ShmPlaces& places, std::uint32_t bucket, std::uint32_t block) const {
  for (std::uint32_t rank = 0; rank < words_.size(); ++rank) places.finding(rank, bucket, block) = words_[rank];
}

void ShmFindings::read(const ShmPlaces& places, const PlacedTask& task, std::uint32_t block,
                       std::vector<NotFinite>& found) const {
  const std::uint64_t begin = block * (HostLayout::kBlockBytes / size_of(task.spec.dtype));
  for (std::uint32_t rank = 0; rank < words_.size(); ++rank) {
    const auto told = Finding::of(places.finding(rank, task.bucket, block));
    if (!told) continue;
    found.push_back({told->is_own ? std::optional(rank) : std::nullopt, task.bucket, begin + told->element});
  }
}

}  // namespace tutti::worker
