// SPDX-License-Identifier: Apache-2.0
// Whether all ranks still have the same parameters. A bit that flips in one rank's memory reaches no other rank, and no
// gradient shows it: only a comparison does. The odd ones are those outside the majority; between two that differ there
// is none. Thread safety: values, and functions without state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace tutti::worker {

struct ReplicaVerdict {
  /// Ranks whose hash is not that of more than half of them; empty where all agree or there is no majority.
  std::vector<int> odd;
  bool agree = true;

  bool has_majority() const noexcept { return agree || !odd.empty(); }
};

/// `hashes` by rank.
ReplicaVerdict compare_replicas(std::span<const std::string> hashes);
/// "rank 2 (1a2b3c4d), unlike the others (5e6f7081)"; without a majority every rank with its hash.
std::string describe(const ReplicaVerdict& verdict, std::span<const std::string> hashes);

}  // namespace tutti::worker
