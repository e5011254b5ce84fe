// SPDX-License-Identifier: Apache-2.0
#include "worker/step_votes.h"

#include <algorithm>

#include "common/assert.h"

namespace tutti::worker {
namespace {

// A rank's own number: this, or 1 + the parameter, or zero.
constexpr double kDone = -1;
constexpr std::size_t kStop = 0, kSave = 1, kFirstRank = 2;

}  // namespace

void cast(const Ballot& ballot, int rank, std::span<double> place) noexcept {
  std::ranges::fill(place, 0);
  place[kStop] = ballot.wishes.stop ? 1 : 0;
  place[kSave] = ballot.wishes.save ? 1 : 0;
  double& own = place[kFirstRank + static_cast<std::size_t>(rank)];
  if (ballot.done) own = kDone;
  if (ballot.not_finite) own = 1.0 + *ballot.not_finite;
}

Outcome count(std::span<const double> sums) {
  TUTTI_ASSERT(sums.size() >= kFirstRank, "a ballot has the numbers for all ranks");
  Outcome outcome;
  outcome.wishes = {.stop = sums[kStop] > 0, .save = sums[kSave] > 0};
  for (std::size_t rank = 0; kFirstRank + rank < sums.size(); ++rank) {
    const double own = sums[kFirstRank + rank];
    if (own == kDone) outcome.done.push_back(static_cast<int>(rank));
    if (own > 0) outcome.not_finite.push_back({static_cast<int>(rank), static_cast<std::uint32_t>(own) - 1});
  }
  return outcome;
}

void add_not_finite(Outcome& outcome, int rank, std::uint32_t parameter) {
  const auto place = std::ranges::lower_bound(outcome.not_finite, rank, {}, &Outcome::NotFinite::rank);
  if (place != outcome.not_finite.end() && place->rank == rank) return;
  outcome.not_finite.insert(place, {rank, parameter});
}

NanPolicy nan_policy_of(std::string_view value) noexcept {
  if (value == "halt") return NanPolicy::kHalt;
  return value == "ignore" ? NanPolicy::kIgnore : NanPolicy::kSkip;
}

NanGuard::Decision NanGuard::judge(const Outcome& outcome) noexcept {
  if (policy_ == NanPolicy::kIgnore) return Decision::kTake;
  if (outcome.not_finite.empty()) {
    skipped_in_a_row_ = 0;
    return Decision::kTake;
  }
  if (policy_ == NanPolicy::kHalt) return Decision::kHalt;
  return ++skipped_in_a_row_ < kInARow ? Decision::kSkip : Decision::kHalt;
}

}  // namespace tutti::worker
