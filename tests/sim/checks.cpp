// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/checks.h"

#include <algorithm>
#include <cstring>

#include "common/crc32c.h"
#include "tests/sim/settings.h"
#include "tests/sim/violation.h"

namespace tutti::sim {

Checks::Checks(const ps::ObjectTable& table) : plain_(table), table_(table), plan_(table.buckets, table.chunk_bytes) {}

void Checks::acts(const Process& process, std::uint32_t generation) {
  const bool is_coordinator = process.name() == "the coordinator";
  const Name name{process.job().run, generation, is_coordinator, process.member()};
  const auto [known, is_new] = names_.try_emplace(name, process.id());
  check(is_new || known->second == process.id(), "two processes act as {} in generation {} of run {}", process.name(),
        generation, process.job().run);
}

void Checks::extends_lease(const Process& agent, TimePoint end) {
  leases_[{agent.job().run, agent.host()}] = end;
}

void Checks::begins_step(const Process& worker) const {
  const auto lease = leases_.find({worker.job().run, worker.host()});
  check(lease == leases_.end() || worker.now() <= lease->second, "{} begins a step {:.3f} s after its lease has ended",
        worker.name(), to_seconds(worker.now() - lease->second));
}

void Checks::evicts(const Process& evicted) const {
  constexpr Duration kBetweenSigns = kTimeout / 6;
  check(evicted.stopped_for() >= kTimeout - kBetweenSigns && evicted.now() < evicted.stopped_until() + 4 * kTimeout,
        "{} is evicted, and was never stopped for {} s", evicted.name(), to_seconds(kTimeout));
}

void Checks::hands_out(const Process& shard, const FrameHeader& header, std::span<const std::byte> result) {
  check(header.step > 0 && header.chunk < plan_.chunks().size(), "{} sent a result of chunk {}, step {}", shard.name(),
        header.chunk, header.step);
  const ps::Chunk& chunk = plan_.chunks()[header.chunk];
  const Bytes& expected = plain_.result(header.step - 1)[chunk.bucket];
  check(result.size() == chunk.bytes &&
            std::memcmp(result.data(), expected.data() + chunk.offset_bytes, chunk.bytes) == 0,
        "{} answers chunk {} of step {} with other bits than those of an undisturbed run", shard.name(), header.chunk,
        header.step);
}

void Checks::memory_of(const Process& shard, const ps::ShardObject& object, int window_chunks) const {
  const std::size_t bound =
      static_cast<std::size_t>(table_.world_size) * static_cast<std::size_t>(table_.connections * (window_chunks + 1));
  check(object.memory().in_use() <= bound, "{} holds {} buffers, at most {} were promised", shard.name(),
        object.memory().in_use(), bound);
}

void Checks::makes_step(const Process& worker, std::uint64_t step, const Buckets& result, const Buckets& parameters) {
  for (const ps::Chunk& chunk : plan_.chunks()) {
    const std::byte* expected = plain_.result(step)[chunk.bucket].data() + chunk.offset_bytes;
    check(std::memcmp(result[chunk.bucket].data() + chunk.offset_bytes, expected, chunk.bytes) == 0,
          "{} made step {} without the result of chunk {}: its bits are not those of an undisturbed run", worker.name(),
          step + 1, chunk.index);
  }
  check(parameters == plain_.parameters(step + 1), "{} has other parameters after step {} than an undisturbed run",
        worker.name(), step + 1);
  steps_ = std::max(steps_, step + 1);
  digest_ = digest_ * 31 + static_cast<std::uint64_t>(worker.id()) * 7 + step;
}

void Checks::begins_again(const Process& worker) const {
  check(steps_ <= 1 || may_begin_again_, "{} begins again after {} steps, where only processes died", worker.name(),
        steps_);
}

void Checks::begins_with(const Process& worker, std::uint64_t steps, const Buckets& parameters, const char* source) {
  check(steps <= steps_ && parameters == plain_.parameters(steps),
        "{} begins with a state of {} steps, {}, that no undisturbed run has", worker.name(), steps, source);
}

}  // namespace tutti::sim
