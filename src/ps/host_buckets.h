// SPDX-License-Identifier: Apache-2.0
// The buckets of the ranks of one host in the memory that its processes share: a rank computes into them, a shard of
// the same host reads and writes them where they lie.
// Thread safety: functions without state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "common/clock.h"
#include "common/dtype.h"
#include "common/result.h"
#include "ps/messages.h"

namespace tutti::ps {

/// One rank's; each stays as long as somebody holds it.
using HostBuckets = std::vector<std::shared_ptr<std::byte>>;

/// Refuses what no rank can mean, before a size is computed from it.
Result<> check(const Placement& placement);

/// The buckets of the rank at `placement`; they hold zeros when nobody has asked for them before. Waits for the keeper.
/// REQUIRES: check(placement) holds. Errors: those of obtain_segment().
Result<HostBuckets> host_buckets(const Placement& placement, std::uint32_t object, std::uint32_t number,
                                 std::span<const BucketSpec> buckets, const Clock& clock, Deadline deadline);

}  // namespace tutti::ps
