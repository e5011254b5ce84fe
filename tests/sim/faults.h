// SPDX-License-Identifier: Apache-2.0
// What goes wrong in a world, and when. Some faults come one by one: their number, kinds, victims and moments are
// drawn. Others are in the air until the world is left alone: lost segments, pushes that are sent again, disks that
// fail. A world is left alone when all of the former have happened and 20 steps were made; then it has to make 50 more.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "tests/sim/process.h"

namespace tutti::sim {

enum class Fault {
  kKillWorker,
  kKillShard,
  kKillAgent,      // its children go with it; with agent 0 the coordinator
  kCrashAtAction,  // a process dies when it has sent or received a frame, or asked something of a disk
  kPowerCut,       // of all hosts; the disk keeps what was synced
  kDamage,         // a byte of a checkpoint is changed, or its end is missing; then a power cut
  kStop,           // SIGSTOP, then SIGCONT
  kPartition,
  kPartitionOneWay,
  kControlPartition,  // of what goes to and from the coordinator, both ways or one way; in half of them from all hosts
  kDataPartition,     // of what ranks and shards exchange
  kClog,
  kCut,
  kFlip,
  kSlow,         // a worker takes a second or two more for each step, for a minute; nothing else happens in it
  kRepeat,       // in the air: a push was sent again
  kFileFailed,   // in the air
  kNoLease,      // what follows: a step had to wait for a lease
  kDiedInSum,    // what follows: a shard died in the middle of a sum
  kFoundInPart,  // what follows: a part of a chunk's result was found in the bucket after a loss
  kFoundWhole,   // what follows: all of it
  kBehind,       // what follows: a rank had to catch up with the others
  kNamedSlow,    // what follows: the coordinator told that a worker is slow
};
inline constexpr std::size_t kFaults = 23;
std::string_view name_of(Fault fault);

class Faults {
 public:
  using Counts = std::array<std::uint64_t, kFaults>;

  explicit Faults(World& world) : world_(world) {}
  void begin();
  /// The process has sent or received a frame, or is asking something of a disk: it may die of it.
  void acted(Process& process);
  /// An operation of the process on its disk: a failure that it ends with.
  Result<> file(Process& process, const std::string& path);

  /// The coordinator tells the user something.
  void noticed(const std::string& line);

  double loss() const;
  double repeats() const;
  void count(Fault fault) { ++counts_[static_cast<std::size_t>(fault)]; }
  const Counts& counts() const noexcept { return counts_; }
  /// Faults of the first kind.
  int happened() const noexcept { return happened_; }
  bool is_over() const noexcept { return is_over_; }

 private:
  void plan();
  void next();
  bool inject(Fault fault);
  bool kill_one(Role role);
  bool damage_a_checkpoint();
  bool stop_one();
  bool partition(bool both_ways);
  bool partition_control();
  bool partition_data();
  bool slow_one();
  void check_slow_one();
  Duration drawn_pause();
  bool clog();
  int other_host(int host);

  World& world_;
  Counts counts_{};
  int happened_ = 0;
  std::optional<std::uint64_t> actions_left_;  // until a process dies of one
  TimePoint calm_until_{};                     // no other fault before
  struct Slow {
    Process::Id process = 0;
    MemberId member;
    std::uint32_t generation = 0;
    std::uint64_t steps = 0;
  };
  Slow slow_;
  std::map<std::string, TimePoint> named_slow_;  // when each was told to be slow the last time
  bool is_over_ = false;
};

}  // namespace tutti::sim
