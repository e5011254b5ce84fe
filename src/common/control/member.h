// SPDX-License-Identifier: Apache-2.0
// A process' connection to the coordinator, as a worker or a server uses it. The blocking verbs are for the training
// thread (or a server's main); each has a deadline, and each ends with the coordinator's cause when the run ends under
// it.
// Thread safety: any thread but the loop's; the callback runs on the loop.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/control/messages.h"
#include "common/event.h"
#include "common/log.h"
#include "common/net/connection.h"
#include "common/net/loop.h"
#include "common/result.h"

namespace tutti {

class Member {
 public:
  struct Options {
    Endpoint coordinator;
    Credentials credentials;                      ///< credentials.self says who joins
    std::string host;                             ///< this machine's name, for messages
    int workers = 0;                              ///< the world size to agree on; 0: whatever the coordinator's is
    Duration timeout = std::chrono::seconds(30);  ///< of join and of each request that names no deadline
    Duration absence{};  ///< for so long the coordinator keeps this member's place (absence.h); zero: not at all
  };
  /// Connects, proves the secret and joins. Errors: kAuthentication, kUnavailable, kTimeout, kMismatch (a rank that is
  /// already taken, a world of another size).
  static Result<std::unique_ptr<Member>> join(Loop& loop, Options options, Logger log);
  /// Closes without a goodbye: the coordinator takes that for a loss unless leave() came first.
  ~Member();
  /// Questions to the coordinator and their answers are told to `events` from here on. REQUIRES: no other thread asks
  /// at this time; `events` outlives the last question.
  void record_to(EventSink& events) noexcept;

  /// How far this host's clock is from the coordinator's is told to `trace` now and then from here on, and before
  /// leave() (kClockOffset). Never waits. REQUIRES: `trace` outlives this.
  void record_clock_to(EventSink& trace);

  std::uint32_t generation() const noexcept;
  /// The address of the interface that reaches the coordinator, in numbers: where this process is reached by others of
  /// the run.
  const std::string& local_address() const noexcept;

  // --- generations
  /// What has become of the run since this was asked last; nothing when it goes on as it was. From here on requests
  /// belong to the new generation.
  std::optional<Regroup> regroup();
  /// `f` is called on the loop each time a new generation begins: waits for others of the old one are in vain.
  void on_regroup(std::function<void(const Regroup&)> f);
  /// A new generation has begun of which regroup() has not told yet.
  bool is_superseded() const;
  /// `f` is called on a thread whose request a new generation made void; where it succeeds the request is made again.
  /// Without it the request fails with kSuperseded.
  void on_superseded(std::function<Result<>()> f);
  /// All who live on and all newcomers meet: the phase-th gather of this generation. kSuperseded when another one
  /// begins meanwhile.
  Result<std::vector<std::string>> meet(std::uint32_t phase, std::string contribution, Deadline deadline);
  /// Tells the coordinator that this process cannot go on in the new generation: all are to begin again.
  void ask_to_begin_again(const std::string& why);
  /// The number of the next collective and the step it is counted from, and what they are to be: a newcomer counts as
  /// the others did where it begins.
  struct Count {
    GatherKey next;
    std::uint64_t step = 0;
  };
  Count count() const noexcept;
  void count_from(const Count& count) noexcept;

  // --- collectives over all workers, in the order of the calls; every rank makes the same ones. Contributions are at
  // most 1 MiB together with their framing.
  Result<std::vector<std::string>> all_gather(std::string contribution, Deadline deadline);
  /// `contribution` counts on `root` only.
  Result<std::string> broadcast(std::string contribution, int root, Deadline deadline);
  Result<> barrier(Deadline deadline);

  // --- key-value store; values are at most 1 MiB
  Result<> set(const std::string& key, std::string value);
  /// Waits until somebody set it.
  Result<std::string> get(const std::string& key, Deadline deadline);
  Result<std::int64_t> add(const std::string& key, std::int64_t amount);
  Result<bool> contains(const std::vector<std::string>& keys);
  Result<bool> erase(const std::string& key);

  // --- the run
  /// Tells the coordinator the step this rank is at. Never waits.
  void progress(std::uint64_t step) noexcept;
  /// Tells the coordinator how this process is: an encoded Report. One that finds no connection is lost. REQUIRES:
  /// called on the loop.
  void report(std::string report);
  /// `f` is called on the loop when the user wants something of the run, or has wanted it since this member joined.
  void on_wish(std::function<void(Wish)> f);
  /// Tells the coordinator why this process is about to end: the cause the user will read. Never waits.
  void report_failure(const Failure& failure) noexcept;
  /// Tells the coordinator whom of `generation` this process cannot reach. REQUIRES: called on the loop.
  void cannot_reach(std::uint32_t generation, const Unreachable& peers);
  /// `f` is called once, on the loop, when the run is over for a reason outside this process: the coordinator's cause
  /// (kPeerLost, and so on), or the coordinator itself lost. At once if that is so already.
  void on_abort(std::function<void(const Failure&)> f);
  /// The cause, once there is one.
  std::optional<Failure> aborted() const;
  /// Says goodbye after a barrier of all workers: this member is done.
  Result<> leave(Deadline deadline);

 private:
  Member();
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace tutti
