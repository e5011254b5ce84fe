// SPDX-License-Identifier: Apache-2.0
// The buckets of the ranks of one host in the memory that its processes share: a rank computes into them, a shard of
// the same host reads and writes them where they lie.
// Thread safety: functions without state.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "common/clock.h"
#include "common/result.h"
#include "ps/chunk_journal.h"
#include "ps/messages.h"

namespace tutti::ps {

/// One rank's; each stays as long as somebody holds it.
using HostBuckets = std::vector<std::shared_ptr<std::byte>>;

/// Refuses what no rank can mean, before a size is computed from it.
Result<> check(const Placement& placement);

struct HostPlaces {
  HostBuckets buckets;
  std::optional<ChunkJournal> journal;  ///< of the host's shards, where one is kept
};

/// The buckets of the rank at `placement`, for the exchange of `table`; they hold zeros when nobody has asked for them
/// before. Waits for the keeper. REQUIRES: check() holds for both. Errors: those of obtain_segment().
Result<HostPlaces> host_places(const Placement& placement, const ObjectTable& table, const Clock& clock,
                               Deadline deadline);

}  // namespace tutti::ps
