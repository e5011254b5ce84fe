// SPDX-License-Identifier: Apache-2.0
// Who of a run is silent, stuck or slow, judged from what the agents say of their children. One timeout is all it is
// told; what derives from it:
//   - an agent sends a heartbeat every sixth of it; a process beats as often as that in its status page;
//   - silence is told of after a third of it, and is a death after the whole;
//   - stuck is a worker that waits for nobody while at least as many wait, and have waited longer than its patience:
//     ten of the run's usual steps, but not less than the timeout and not more than four; before it has made a step,
//     four; before it has begun one, eight. So nobody is stuck because all are slow;
//   - slow is a worker for which the others wait half of each step or more, in two windows of five steps in a row. That
//     is told, and never more is done.
// Whoever judges and has not run for a while, as after SIGSTOP, has heard nobody in that time: it begins anew.
// Sans-I/O. Thread safety: owned by one thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "common/clock.h"
#include "common/control/messages.h"

namespace tutti {

class Liveness {
 public:
  struct Finding {
    enum class Kind {
      kQuiet,  ///< not heard of for `time`
      kDead,   ///< the same, for the whole timeout
      kStuck,  ///< the others have waited for it for `time`
      kSlow,   ///< the others wait for it for `time` of each step of length `step`
    };
    Kind kind{};
    MemberId member{};
    Duration time{};
    Duration step{};
  };

  /// `timeout` zero: nobody is judged.
  explicit Liveness(Duration timeout) : timeout_(timeout) {}

  void heard(const MemberId& agent, const Heartbeat& heartbeat, TimePoint now);
  /// The member's process is gone; another one may come.
  void forget(const MemberId& member);
  /// Steps are not what they were: processes were replaced.
  void begin_generation();
  /// What is new since the last call.
  std::vector<Finding> judge(TimePoint now);
  /// When judge() may find something without another heartbeat.
  std::optional<TimePoint> next_look() const;
  /// No process of this agent begins a step after that.
  std::optional<TimePoint> lease_end(const MemberId& agent) const;

 private:
  struct Agent {
    TimePoint heard{};
    bool is_quiet = false, is_dead = false;  // it was told
  };
  struct Child {
    ChildBeat beat{};
    TimePoint heard{};
    std::optional<TimePoint> busy_since;      // it was first heard of then to be what it is, or to be there
    std::optional<std::uint64_t> first_step;  // that it was seen at
    bool is_quiet = false, is_condemned = false;
  };
  using Children = std::map<MemberId, Child>;
  /// Where every worker was when a stretch of steps began.
  struct Window {
    TimePoint begin{};
    std::map<MemberId, ChildBeat> beats{};
  };

  void forgive_own_pause(TimePoint now);
  void judge_agents(TimePoint now);
  void judge_silence(Children::value_type& entry);
  void judge_progress(TimePoint now);
  void judge_pace(TimePoint now);
  void end_window(std::uint64_t steps, TimePoint now);
  bool is_fresh(const Child& child, TimePoint now) const { return now - child.heard <= 2 * period(); }
  bool all_agents_are_quiet() const;
  Duration patience_for(const Child& child) const;
  Duration period() const { return timeout_ / 6; }

  const Duration timeout_;
  std::optional<TimePoint> last_look_;
  std::map<MemberId, Agent> agents_;
  Children children_;
  std::set<MemberId> forgotten_;  // no successor was heard of yet
  std::optional<Window> window_;
  std::optional<MemberId> slowest_;  // of the window before
  std::map<MemberId, TimePoint> told_slow_;
  Duration usual_step_{};  // zero: not known yet
  std::vector<Finding> findings_;
};

}  // namespace tutti
