// SPDX-License-Identifier: Apache-2.0
// Which elements make a sum that is not finite, and whose they are.
// Thread safety: says each for itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "common/dtype.h"

namespace tutti::ps {

/// An element of a chunk whose sum is not finite.
struct NotFiniteElement {
  /// No rank's own contribution: only their sum is too large, or the result came without its contributions.
  static constexpr std::int32_t kNobody = -1;

  std::int32_t rank = kNobody;  ///< whose contribution it is
  std::uint64_t element = 0;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(rank, element);
  }
  auto operator<=>(const NotFiniteElement&) const = default;
};

/// A sum stopped in front of one of the next few elements of `contributions`, at `first` (reduce_while_finite). Tells
/// `note` of each rank whose contribution is not finite there or later, with the first such element; else of the first
/// element whose sum is too large, with no rank.
void blame_not_finite(DType dtype, Reduction reduction, std::span<const std::byte* const> contributions,
                      std::size_t first, std::size_t elements,
                      const std::function<void(std::optional<std::uint32_t> rank, std::size_t element)>& note);

/// The first of each rank that the parts of one chunk's sum come upon. Thread safety: any thread.
class NotFiniteElements {
 public:
  void note(const NotFiniteElement& found);
  /// In the order of ranks. With ranks that are known, there is nobody's no more.
  std::vector<NotFiniteElement> take();

 private:
  std::mutex mutex_;
  std::vector<NotFiniteElement> found_;  // guarded by mutex_
};

}  // namespace tutti::ps
