// SPDX-License-Identifier: Apache-2.0
// What the ranks decide together at the end of a step, without a message of its own. Each casts a ballot: a few numbers
// that travel in the bucket which says who had a gradient. Their sum reads the same on every rank, so that all come to
// the same decision in the same step. Every rank but for one adds zero to a place, or each adds one: as float64 the
// sums are exact in any order.
// Thread safety: values, and functions without state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "common/dtype.h"

namespace tutti::worker {

/// What a rank was asked to do.
struct Wishes {
  bool stop = false;
  bool save = false;
};

/// What one rank says.
struct Ballot {
  Wishes wishes = {};
  bool done = false;                             ///< it has no more data and contributes nothing
  std::optional<std::uint32_t> not_finite = {};  ///< the first parameter whose gradient holds a NaN or an infinity
};

/// What all read.
struct Outcome {
  struct NotFinite {
    int rank = 0;  ///< kOnlyTheSum: every rank's gradient is finite, and their sum is not
    std::uint32_t parameter = 0;
    bool operator==(const NotFinite&) const = default;
  };
  Wishes wishes = {};                      ///< of any of them
  std::vector<int> done = {};              ///< ranks, ascending
  std::vector<NotFinite> not_finite = {};  ///< by rank
};

constexpr int kOnlyTheSum = -1;
/// Adds what an exchange found by itself. A rank's first parameter is the one that counts.
void add_not_finite(Outcome& outcome, int rank, std::uint32_t parameter);

constexpr DType kVoteDType = DType::kFloat64;

/// Numbers of a ballot: two for all ranks together, one for each.
constexpr std::size_t votes_in(int world_size) noexcept {
  return 2 + static_cast<std::size_t>(world_size);
}
/// REQUIRES: `place` has votes_in(world_size) numbers.
void cast(const Ballot& ballot, int rank, std::span<double> place) noexcept;
/// `sums`: the places of all ranks, added.
Outcome count(std::span<const double> sums);

/// What a run does about a gradient that is not finite.
enum class NanPolicy {
  kSkip,    ///< all ranks leave the step out; the third in a row ends the run
  kHalt,    ///< the first ends the run
  kIgnore,  ///< nothing: gradients are not looked at
};
/// `value` as the configuration allows it.
NanPolicy nan_policy_of(std::string_view value) noexcept;

/// Counts the steps that were left out one after the other.
class NanGuard {
 public:
  enum class Decision { kTake, kSkip, kHalt };
  explicit NanGuard(NanPolicy policy) : policy_(policy) {}
  bool looks() const noexcept { return policy_ != NanPolicy::kIgnore; }
  Decision judge(const Outcome& outcome) noexcept;
  /// What a rank that takes a lost one's place has to know.
  int skipped_in_a_row() const noexcept { return skipped_in_a_row_; }
  void go_on_after(int skipped_in_a_row) noexcept { skipped_in_a_row_ = skipped_in_a_row; }

 private:
  static constexpr int kInARow = 3;
  const NanPolicy policy_;
  int skipped_in_a_row_ = 0;
};

}  // namespace tutti::worker
