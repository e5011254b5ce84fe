// SPDX-License-Identifier: Apache-2.0
// How the workers of a run go on in a new generation. Whoever lives on waits, in its backward or in a collective, and
// comes here; whoever takes a lost one's place comes here when its training loop begins.
//
//   1. All meet, and tell each other who is new and how far they are. Nobody works in an exchange now, and those that
//      were lost are gone.
//   2. The survivors mend what the lost ones left half done, and who is behind catches up. They meet again.
//   3. One of the survivors that are furthest, the donor, gives the newcomers its state. All go on: the newcomers do
//      the lost ones' part of the step that the others wait in.
//
// Another loss on the way begins another generation, and all of it anew. A rank that cannot go on from where it is says
// so: then all workers begin again, from the newest checkpoint.
// Thread safety: the training thread, but interrupt(), which the loop calls.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/control/member.h"
#include "common/event.h"
#include "common/log.h"
#include "common/result.h"
#include "worker/exchange.h"
#include "worker/rendezvous.h"
#include "worker/state_transfer.h"

namespace tutti::worker {

/// A rank of a run, as they meet.
struct MeetingRank {
  bool is_new = false;
  std::uint64_t exchanges = 0;  ///< that it has finished
  std::int32_t host_index = 0, local_rank = 0;
  std::string endpoint;  ///< the donor's, at the second meeting
  template <class Archive>
  void serialize(Archive& archive) {
    archive(is_new, exchanges, host_index, local_rank, endpoint);
  }
};

/// What a regrouping asks of a DataParallel. Failures of the world are returned; a state that does not fit the program
/// is thrown.
class Participant {
 public:
  virtual ~Participant() = default;
  /// Why this rank cannot go on from where it is; nothing: it can.
  virtual std::optional<std::string> cannot_go_on() const = 0;
  /// Between the two meetings.
  virtual Result<> mend(const Succession& succession, Deadline deadline) = 0;
  /// Finished so far.
  virtual std::uint64_t exchanges() const = 0;
  /// The donor's: all that a newcomer needs to begin the step in which this rank waits. The bytes stay until go_on().
  virtual std::vector<std::span<const std::byte>> give_state() = 0;
  /// A newcomer's.
  virtual std::uint64_t state_bytes_max() const = 0;
  virtual Result<> take_state(StateReceiver::State state, const Succession& succession) = 0;
  /// A survivor's: waits of this generation begin.
  virtual Result<> go_on(Deadline deadline) = 0;
};

class Regrouper {
 public:
  /// What is handed in by reference outlives it. `events` is told of each member that took a lost one's place.
  Regrouper(const Rendezvous& meeting, const Clock& clock, EventSink& events, Logger log);
  ~Regrouper();

  void attend(Participant& participant) { participants_.push_back(&participant); }
  void forget(Participant& participant) noexcept { std::erase(participants_, &participant); }
  /// This process takes a lost one's place, and has not gone on with the others yet.
  bool is_newcomer() const noexcept { return is_newcomer_; }

  /// A newcomer's training loop begins.
  Result<> enter();
  /// A wait ended with kSuperseded: it may be taken up again when this returns. Another failure is the end of this
  /// process.
  Result<> run();
  /// This process cannot go on from where it is: asks for all to begin again, and waits for its end.
  Failure give_up(const std::string& why);
  /// Something has changed: a new generation, or the end of the run. Called on the loop.
  void interrupt();

 private:
  Result<> await_news();
  Result<> once();
  Result<> until_it_lasts();
  Result<std::vector<MeetingRank>> meet(std::uint32_t phase, const std::string& endpoint, Deadline deadline);
  MeetingRank self(const std::string& endpoint) const;
  Succession succession_of(const std::vector<MeetingRank>& ranks) const;
  Result<> give(Participant& participant, const std::vector<MeetingRank>& ranks);
  Result<> take(Participant& participant, const std::vector<MeetingRank>& ranks, int donor);
  Result<> not_superseded() const;
  Credentials credentials() const;
  Duration timeout() const;
  void record_joined(Role role, int rank) const noexcept;

  const Rendezvous& meeting_;
  Member& member_;
  const Clock& clock_;
  EventSink& events_;
  const Logger log_;
  std::vector<Participant*> participants_;
  bool is_newcomer_;
  std::set<int> lost_shards_;  // since all went on the last time

  std::mutex mutex_;
  std::condition_variable changed_;
  std::unique_ptr<StateDonor> donor_;        // changed under mutex_
  std::unique_ptr<StateReceiver> receiver_;  // changed under mutex_
};

}  // namespace tutti::worker
