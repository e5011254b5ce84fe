// SPDX-License-Identifier: Apache-2.0
#include "ps/not_finite.h"

#include <algorithm>
#include <utility>

#include "ps/finite.h"
#include "ps/reduce.h"

namespace tutti::ps {
namespace {

std::size_t first_too_large(DType dtype, Reduction reduction, std::span<const std::byte* const> contributions,
                            std::size_t first) {
  const std::size_t size = size_of(dtype);
  for (;; ++first) {
    std::vector<const std::byte*> one;
    for (const std::byte* const contribution : contributions) one.push_back(contribution + first * size);
    std::byte sum[sizeof(double)];
    if (reduce_while_finite(dtype, reduction, one, {sum, size}) == 0) return first;
  }
}

}  // namespace

void blame_not_finite(DType dtype, Reduction reduction, std::span<const std::byte* const> contributions,
                      std::size_t first, std::size_t elements,
                      const std::function<void(std::optional<std::uint32_t> rank, std::size_t element)>& note) {
  const std::size_t size = size_of(dtype);
  bool is_someones = false;
  for (std::uint32_t rank = 0; rank < contributions.size(); ++rank) {
    const auto found = first_not_finite(dtype, contributions[rank] + first * size, elements - first);
    if (!found) continue;
    is_someones = true;
    note(rank, first + *found);
  }
  if (!is_someones) note(std::nullopt, first_too_large(dtype, reduction, contributions, first));
}

void NotFiniteElements::note(const NotFiniteElement& found) {
  const std::lock_guard lock(mutex_);
  const auto known = std::ranges::find(found_, found.rank, &NotFiniteElement::rank);
  if (known == found_.end()) {
    found_.push_back(found);
  } else {
    known->element = std::min(known->element, found.element);
  }
}

std::vector<NotFiniteElement> NotFiniteElements::take() {
  const std::lock_guard lock(mutex_);
  std::ranges::sort(found_);
  if (found_.size() > 1 && found_.front().rank == NotFiniteElement::kNobody) found_.erase(found_.begin());
  return std::exchange(found_, {});
}

}  // namespace tutti::ps
