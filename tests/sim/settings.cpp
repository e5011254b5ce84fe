// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/settings.h"

#include <chrono>

#include "ps/chunk_journal.h"
#include "ps/chunk_plan.h"

namespace tutti::sim {
namespace {

ps::ObjectTable drawn_table(Draw& draw, int workers, int shards) {
  ps::ObjectTable table;
  table.world_size = workers;
  table.shards = shards;
  table.chunk_bytes = ps::kChunkAlignment * static_cast<std::uint64_t>(draw.between(1, 4));
  table.connections = draw.between(1, 2);
  const int buckets = draw.between(1, 3);
  for (int i = 0; i < buckets; ++i) {
    const auto reduction = draw.chance(0.7) ? Reduction::kAverage : Reduction::kSum;
    table.buckets.push_back({DType::kFloat32, reduction, static_cast<std::uint64_t>(draw.between(8, 150))});
  }
  if (draw.chance(0.5)) table.buckets.push_back({DType::kFloat32, Reduction::kBroadcast, 20});
  return table;
}

}  // namespace

Settings Settings::drawn(Draw& draw) {
  Settings settings;
  settings.workers = draw.between(2, 4);
  settings.shards = draw.between(1, 3);
  settings.hosts = draw.between(1, 3);
  settings.window_chunks = draw.between(1, 4);
  settings.checkpoint_every = static_cast<std::uint64_t>(draw.between(3, 12));
  settings.compare_every = draw.chance(0.5) ? 4 : 40;
  settings.table = drawn_table(draw, settings.workers, settings.shards);
  settings.delay = draw.seconds(0.001, 0.1);
  // A third of the worlds each go without one of these.
  const auto or_none = [&](double most) { return draw.chance(1.0 / 3) ? 0 : draw.real(0, most); };
  settings.loss = or_none(0.3);
  settings.repeats = or_none(0.5);
  settings.file_faults = or_none(0.1);
  settings.is_calm = draw.chance(0.25);
  if (settings.is_calm) {
    settings.delay = draw.seconds(0.001, 0.02);
    settings.loss = settings.repeats = settings.file_faults = 0;
  }
  settings.faults = draw.between(3, 9);
  settings.shares_memory = draw.chance(0.5);
  settings.fault_gap_max = draw.seconds(0.5, 8);
  // Chunks of more than one of the blocks that a sum in place is marked by.
  if (settings.shares_memory && settings.window_chunks == 4) {
    settings.table.chunk_bytes = 2 * ps::ChunkJournal::kBlockBytes;
    settings.table.buckets.front().elements += 1000;
  }
  return settings;
}

}  // namespace tutti::sim
