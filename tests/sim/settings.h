// SPDX-License-Identifier: Apache-2.0
// What a world is like, drawn from its seed.
#pragma once

#include <cstdint>

#include "common/clock.h"
#include "ps/messages.h"
#include "tests/sim/draw.h"

namespace tutti::sim {

/// One knob for waits, as in a run's configuration.
inline constexpr Duration kTimeout = std::chrono::seconds(10);
/// A rank waits for the others for as long as it takes to replace one of them.
inline constexpr Duration kWait = 10 * kTimeout;

struct Settings {
  int workers = 1;
  int shards = 1;
  int hosts = 1;
  int window_chunks = 1;
  std::uint64_t checkpoint_every = 1;  ///< steps
  std::uint64_t compare_every = 1;     ///< steps, the ranks' parameters, in a gather of the coordinator's
  ps::ObjectTable table;
  bool is_calm = false;      ///< processes die, and nothing else happens: then nobody ever waits in vain
  Duration delay{};          ///< mean, of a segment between hosts
  double loss = 0;           ///< of segments
  double repeats = 0;        ///< of a rank's pushes of a step to a shard: it sends them again, over new connections
  double file_faults = 0;    ///< of reads, writes and everything else that a disk does
  int faults = 3;            ///< that come one by one
  Duration fault_gap_max{};  ///< between them

  static Settings drawn(Draw& draw);
  bool shares_memory = false;  ///< a shard sums in the buckets of its host's ranks
  int host_of_worker(int rank) const { return rank % hosts; }
  int local_rank(int rank) const { return rank / hosts; }
  int local_size(int rank) const { return (workers - host_of_worker(rank) + hosts - 1) / hosts; }
  int host_of_shard(int shard) const { return (hosts - 1 - shard % hosts); }
};

}  // namespace tutti::sim
