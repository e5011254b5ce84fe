// SPDX-License-Identifier: Apache-2.0
// common/control: who takes part in a run and what the parts tell each other outside the gradients' way: joining,
// gathers of small contributions, a key-value store, progress, the end. The coordinator's machine is sans-I/O: (event,
// time) in, actions out. It lives in rank 0's agent in a managed run and in rank 0 itself in an embedded one.
// Thread safety: owned by one thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/control/assignment.h"
#include "common/control/attempts.h"
#include "common/control/cause.h"
#include "common/control/gather_table.h"
#include "common/control/kv_store.h"
#include "common/control/liveness.h"
#include "common/control/messages.h"
#include "common/control/reachability.h"
#include "common/control/roster.h"
#include "common/net/frame.h"
#include "common/result.h"

namespace tutti {

struct CoordinatorOptions {
  int workers = 1;
  int servers = 0;
  int agents = 0;                ///< 0: an embedded run
  std::uint32_t generation = 1;  ///< the first
  int replacements = 0;          ///< tries without progress to replace a lost process; 0: a loss ends the run
  bool restartable = false;      ///< all workers may begin again at any step: there are checkpoints
  std::map<MemberId, std::int32_t> homes = {};  ///< the agents that start the members; not named: agent 0
  Duration timeout{};  ///< silence or lack of progress that counts as a loss (liveness.h); 0: none does
  Duration absence{};  ///< for so long a member whose connection broke may come again (absence.h); 0: it is lost
  Elasticity elasticity = {};                       ///< how the world may change
  Duration patience = std::chrono::seconds(1);      ///< how long a closed connection waits for its agent's reason
  Duration end_timeout = std::chrono::seconds(30);  ///< how long the end of the run waits for those that do not answer
};

struct CoordinatorAction {
  enum class Kind { kSend, kNotice, kHappened, kLine, kFinished } kind = Kind::kSend;
  MemberId to{};          ///< kSend
  FrameType type{};       ///< kSend
  std::string control{};  ///< kSend
  std::string line{};     ///< kLine: to be printed for the user at the end
  Happening happening{};  ///< kHappened; of kNotice the text is to be printed for the user, too
  int exit_code = 0;      ///< kFinished: everybody has been told and has answered; the run's exit code
};

class CoordinatorFsm {
 public:
  using Actions = std::vector<CoordinatorAction>;

  explicit CoordinatorFsm(CoordinatorOptions options);

  /// The first frame of a connection. A failure (kMismatch, kProtocol, the run's cause) refuses it: the shell answers
  /// with a kJoined that says so, and closes.
  Result<Actions> join(const MemberId& who, const FrameHeader& header, std::span<const std::byte> control,
                       TimePoint now);
  /// A frame of one that joined. A failure is kProtocol: the shell closes the connection and tells closed().
  Result<Actions> frame(const MemberId& from, const FrameHeader& header, std::span<const std::byte> control,
                        TimePoint now);
  /// The connection of one that joined is gone, after it has not been heard of for `silent`. It may come again: by a
  /// join() whose header has the flag kComesAgain.
  Actions closed(const MemberId& who, const Failure& why, TimePoint now, Duration silent = {});
  Actions tick(TimePoint now);
  /// The user wants another number of workers. A notice tells where that cannot be.
  Actions resize(int workers, TimePoint now);
  /// The user wants something of the workers. Errors: kUsage, saying why that cannot be now.
  Result<Actions> ask(Wish wish, TimePoint now);
  /// When tick() has something to do.
  std::optional<TimePoint> next_deadline() const;

  bool finished() const noexcept { return phase_ == Phase::kFinished; }
  /// Frames for members carry it.
  std::uint32_t generation() const noexcept { return generation_; }
  const std::set<std::int32_t>& lost_agents() const noexcept { return change_.gone; }
  /// The step that each worker is at, as far as it told.
  std::map<MemberId, std::uint64_t> steps() const;
  /// Frames of older generations, which were dropped.
  std::uint64_t stale_frames() const noexcept { return stale_frames_; }

 private:
  enum class Phase { kRunning, kAborting, kClosing, kFinished };
  template <class Message>
  Result<> handle(const MemberId& from, std::span<const std::byte> control,
                  Result<> (CoordinatorFsm::*handler)(const MemberId&, Message));
  Result<> dispatch(const MemberId& from, const FrameHeader& header, std::span<const std::byte> control);

  // coordinator_requests.cpp: what members ask for
  Result<> on_contribute(const MemberId& from, Contribute message);
  Result<> on_store(const MemberId& from, StoreRequest message);
  Result<> on_leave(const MemberId& from, Leave message);
  void complete(const GatherTable::Complete& gather);
  void set(const MemberId& from, const StoreRequest& message, std::string value, std::int64_t number);
  void tell_to_stop(const MemberId& who);
  void answer_late_requests();

  // coordinator_end.cpp: how the run ends
  Result<> on_abort(const MemberId& from, Abort message);
  Result<> on_child_exited(const MemberId& from, ChildExited message);
  void on_clean_exit(const MemberId& who);
  void on_all_left();
  Result<> on_agent_done(const MemberId& from);
  void blame(const MemberId& who, Cause cause, Certainty certainty);
  void settle();
  void tell_of_loss(const Cause& cause, std::string text);
  void abort_run(const Cause& cause);
  void close_run();
  bool everybody_answered() const;

  // coordinator_replace.cpp: how a run goes on after a loss
  Result<> on_restart(const MemberId& from, Restart message);
  bool is_replaced(const Cause& cause) const;
  void lose(Cause cause);
  void replace(const Cause& cause);
  void evict_the_late();
  void evict(const MemberId& who);
  void evict_all();
  MemberId home_of(const MemberId& who) const;
  void begin_generation(const std::vector<MemberId>& lost, const std::string& why);
  void restart_all(const std::string& why);
  void end_everybody();
  void begin_again();
  void start_the_due();
  std::uint64_t step_of_run() const;

  // coordinator_liveness.cpp: who is silent, stuck or slow
  Result<> on_heartbeat(const MemberId& from, Heartbeat message);
  void judge();
  void act_on(const Liveness::Finding& finding);
  void condemn(const MemberId& who, std::string why, Cause::Judged judged);

  // coordinator_absence.cpp: who cannot be reached, by the coordinator or by its peers
  Result<> come_again(const MemberId& who, const FrameHeader& header);
  bool may_come_again(const MemberId& who, const Failure& why) const;
  bool is_absent(const MemberId& who) const { return absent_.contains(who); }
  bool hears_nobody() const;
  TimePoint give_up_time(const MemberId& who) const;
  void give_up_the_absent();
  void give_up(const MemberId& who, std::string why);
  Result<> on_unreachable(const MemberId& from, Unreachable message);
  void judge_reachability(Duration longer_than);

  // coordinator_resize.cpp: how a run goes on in another world
  Result<> ask_for_world(int workers);
  Result<WorldPlan> plan_world(int workers) const;
  void begin_stopped_world();
  void change_the_world();
  std::optional<TimePoint> next_change() const;
  bool outlives(const MemberId& agent) const;
  void give_up_agent(Cause cause);
  bool shrink(Cause cause);
  void go_on_with(int workers, const Cause& cause);
  void begin_world(WorldPlan plan, const std::string& why);
  void enter_next_world();

  void send(const MemberId& to, FrameType type, std::string control);
  using What = Happening::What;
  Happening about(What what, const MemberId& member, std::string text) const;
  void tell(Happening happening);  ///< whoever watches
  void notice(std::string line, What what = What::kNotice);
  void notice(Happening happening);  ///< the user and whoever watches
  void reply(const MemberId& to, FrameType type, const Reply& reply);
  void refuse(const MemberId& to, FrameType type, std::uint64_t request, const Failure& why);
  TimePoint deadline_of(std::uint64_t wait_ns) const;

  /// A member of which all is lost but its agent's word that its process is gone.
  struct Loss {
    Cause cause;
    TimePoint due{};  ///< then its agent is told to end it
    bool evicted = false;
  };
  /// A member whose connection broke, and that may come again.
  struct Absence {
    TimePoint heard{};  ///< the last time
    std::string why;
    bool is_silent = false;  ///< it was given up for its silence; else the connection was ended, which an end can be
  };
  struct PlannedStart {
    Start start;
    TimePoint due{};
  };

  CoordinatorOptions options_;  // workers, servers and homes are those of the present world
  std::uint32_t generation_;
  Phase phase_ = Phase::kRunning;
  TimePoint now_{};
  TimePoint end_deadline_{};
  Roster roster_;
  GatherTable gathers_;
  GatherTable goodbyes_;  // one gather: everybody has said goodbye
  std::vector<GatherTable::Waiter> leaving_servers_;
  KvStore store_;
  Verdict verdict_;
  Attempts attempts_;
  Liveness liveness_;
  Reachability reachability_;
  std::map<MemberId, Absence> absent_;
  std::map<MemberId, Loss> losses_;
  std::vector<PlannedStart> starts_;
  WorldChange change_;
  std::optional<Cause> last_loss_;  // what a restart that cannot be is told to have been for
  bool restarting_ = false;         // until every worker and server is gone
  int exit_code_ = 0;               // of a run that ends well
  bool is_asked_to_stop_ = false;   // by ask()
  std::uint64_t stale_frames_ = 0;
  Actions actions_;  // of the event that is being handled
};

}  // namespace tutti
