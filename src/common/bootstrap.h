// SPDX-License-Identifier: Apache-2.0
// What an agent tells a child at its start, through an inherited descriptor (its number is in TUTTI_FD): who it is,
// where the coordinator is, the secret, the run's configuration. The descriptor then stays open: its end of file tells
// the child that its agent is gone. A second descriptor (TUTTI_STATUS_FD) is a page of memory that outlives the child:
// the step it was at, its signs of life, and what its agent wishes of it.
// Thread safety: functions without state; each word of a StatusPage is written by one thread and read by any.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "common/activity.h"
#include "common/clock.h"
#include "common/config.h"
#include "common/net/connection.h"
#include "common/recording.h"
#include "common/result.h"
#include "common/shared_memory.h"

namespace tutti {

struct Bootstrap {
  Role role = Role::kWorker;
  std::int32_t rank = 0;        ///< within its role
  std::int32_t world_size = 1;  ///< workers
  std::int32_t local_rank = 0;  ///< among the workers of this host
  std::int32_t local_size = 1;
  std::int32_t host_index = 0;  ///< among the hosts that have workers, in the order of their ranks
  std::int32_t hosts = 1;
  std::uint32_t generation = 1;
  bool newcomer = false;  ///< takes the place of a process that was lost: the others are under way
  std::string host;
  std::string address;      ///< of the interface the run was told to use
  std::string host_memory;  ///< the keeper of this host's shared memory (common/host_memory.h)
  std::string recordings;   ///< the folder of the run's recordings (common/recording.h); empty: none are made
  Endpoint coordinator;
  JobId job{};
  Secret secret;
  RunConfig config;

  /// How many push to a shard: all workers, or one for each of their hosts.
  std::int32_t contributors() const noexcept { return has_host_stage(config.exchange) ? hosts : world_size; }
};

/// The child, as its recording names it.
RecordedProcess recorded_process(const Bootstrap& bootstrap);

/// Holds the secret: whoever calls this clears the string, or hands it to nobody but the child.
std::string encode(const Bootstrap& bootstrap);
Result<Bootstrap> decode_bootstrap(std::string_view bytes);
/// Writes length and bytes to `fd`; reads them. `read_bootstrap` leaves the descriptor open and marks it close-on-exec.
/// A child that died before it read is kIo, where SIGPIPE is ignored.
Result<> write_bootstrap(int fd, const Bootstrap& bootstrap);
Result<Bootstrap> read_bootstrap(int fd);

/// A page shared between a child and its agent (an anonymous file, so nothing is left behind).
class StatusPage {
 public:
  /// The agent's. It cannot get lost, and means nothing to a program that does not ask for it.
  enum class Wish : std::uint64_t {
    kNone,
    kStop,  ///< end your step, save, leave
    kEnd,   ///< a TERM that comes now is meant at once
  };
  static Result<StatusPage> create();
  /// Takes the descriptor over. Errors: kBadData when it is no such page.
  static Result<StatusPage> open(int fd);

  int fd() const noexcept { return memory_.fd(); }
  void set_step(std::uint64_t step) noexcept;
  std::uint64_t step() const noexcept;

  void set_wish(Wish wish) noexcept;
  Wish wish() const noexcept;
  /// The child's: it looks at the wish after every step.
  void set_listening() noexcept;
  bool listening() const noexcept;

  // --- signs of life (common/pulse.h)
  /// The child's loop thread, again and again: a process that is stopped does not.
  void beat() noexcept;
  /// 0: none yet.
  std::uint64_t beats() const noexcept;
  /// What the child's training thread is at. `changes` tells one wait from the next.
  void set_activity(Activity activity, std::uint64_t changes) noexcept;
  Activity activity() const noexcept;
  std::uint64_t activity_changes() const noexcept;
  /// How long the child has waited for the others, in all its exchanges.
  void set_waited(Duration waited) noexcept;
  Duration waited() const noexcept;

  /// The agent's: the child starts no step after `end`, by the host's monotonic clock, which both read.
  void set_lease(TimePoint end) noexcept;
  /// No agent has ever set one: there is no end.
  bool lease_ended(TimePoint now) const noexcept;

  /// The same page once more, for somebody who outlives this.
  Result<StatusPage> share() const;

 private:
  explicit StatusPage(SharedMemory memory) : memory_(std::move(memory)) {}
  enum Word { kStep, kWish, kListening, kBeats, kActivity, kWaited, kLease };
  std::uint64_t load(Word word) const noexcept;
  void store(Word word, std::uint64_t value) noexcept;

  SharedMemory memory_;
};

}  // namespace tutti
