// SPDX-License-Identifier: Apache-2.0
// The collectives' table: contributions of all ranks under one key make a gather. A rank that waits beyond its deadline
// is told who is missing; what it contributed stays. Where ranks can be replaced, gathers that are complete are kept
// for a newcomer, who goes the same way again: its contributions are repeats, and its answers are what the others got.
// Thread safety: owned by one thread.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/result.h"

namespace tutti {

/// Which gather: the index-th of a scope. Collectives are counted anew from each step on (scope 0: before the first),
/// so that a process which begins at that step counts as the others do; those of a regrouping belong to its generation.
struct GatherKey {
  enum class Kind : std::uint8_t { kCollective, kRegroup };
  Kind kind = Kind::kCollective;
  std::uint64_t scope = 0;
  std::uint32_t index = 0;

  auto operator<=>(const GatherKey&) const = default;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(kind, scope, index);
  }
};
constexpr GatherKey::Kind last_enumerator(GatherKey::Kind) noexcept {
  return GatherKey::Kind::kRegroup;
}

class GatherTable {
 public:
  /// Of the complete gathers that are kept; beyond it the oldest are forgotten.
  static constexpr std::size_t kKeptBytesMax = 32u << 20;

  struct Waiter {
    std::int32_t rank = 0;
    std::uint64_t request = 0;
    TimePoint deadline{};
  };
  struct Complete {
    std::vector<Waiter> waiters;
    std::vector<std::string> contributions;  ///< in rank order
  };
  struct Late {
    Waiter waiter;
    std::vector<std::int32_t> missing;
  };

  explicit GatherTable(int ranks, bool keeps = false) : ranks_(static_cast<std::size_t>(ranks)), keeps_(keeps) {}

  /// The gather that `bytes` completed, or that was complete already, if any. Of two contributions of a rank the first
  /// stands, and the second waits. REQUIRES: waiter.rank is one of the ranks.
  std::optional<Complete> contribute(const GatherKey& key, const Waiter& waiter, std::string bytes);
  /// Those whose deadline is at or before `now`; they wait no more.
  std::vector<Late> expire(TimePoint now);
  std::optional<TimePoint> next_deadline() const;

  /// A new generation: nobody waits any more, and the meetings of older ones will not come about.
  void begin_generation();
  /// Complete collectives of scopes from 1 up to before this one are needed by nobody any more.
  void forget_before(std::uint64_t scope);

 private:
  struct Gather {
    std::vector<std::optional<std::string>> contributions;
    std::vector<Waiter> waiters;
    std::size_t count = 0;
    std::size_t bytes = 0;
  };

  void keep(std::map<GatherKey, Gather>::iterator gather);

  std::size_t ranks_;
  bool keeps_;
  std::map<GatherKey, Gather> gathers_;
  std::size_t kept_bytes_ = 0;
};

}  // namespace tutti
