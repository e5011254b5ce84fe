// SPDX-License-Identifier: Apache-2.0
#include "worker/replica_check.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace tutti::worker {

ReplicaVerdict compare_replicas(std::span<const std::string> hashes) {
  ReplicaVerdict verdict;
  verdict.agree = std::ranges::all_of(hashes, [&](const std::string& hash) { return hash == hashes.front(); });
  if (verdict.agree) return verdict;
  for (const std::string& candidate : hashes) {
    const auto votes = static_cast<std::size_t>(std::ranges::count(hashes, candidate));
    if (2 * votes <= hashes.size()) continue;
    for (std::size_t rank = 0; rank < hashes.size(); ++rank) {
      if (hashes[rank] != candidate) verdict.odd.push_back(static_cast<int>(rank));
    }
    break;
  }
  return verdict;
}

std::string describe(const ReplicaVerdict& verdict, std::span<const std::string> hashes) {
  std::vector<std::string> named;
  for (std::size_t rank = 0; rank < hashes.size(); ++rank) {
    if (verdict.odd.empty() || std::ranges::count(verdict.odd, static_cast<int>(rank)) != 0)
      named.push_back(fmt::format("rank {} ({})", rank, hashes[rank]));
  }
  const std::string list = fmt::format("{}", fmt::join(named, ", "));
  if (verdict.odd.empty()) return list + ", with no majority";
  const auto usual = std::ranges::find_if(hashes, [&](const std::string& hash) {
    return hash != hashes[static_cast<std::size_t>(verdict.odd.front())] &&
           2 * static_cast<std::size_t>(std::ranges::count(hashes, hash)) > hashes.size();
  });
  return fmt::format("{}, unlike the others ({})", list, *usual);
}

}  // namespace tutti::worker
