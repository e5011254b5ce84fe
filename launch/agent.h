// SPDX-License-Identifier: Apache-2.0
// One agent for the length of a run: joins the coordinator, starts its share of shards and workers, reports how they
// end, ends them when the coordinator, a signal or the launcher's death says so. What was lost it starts again, or
// ends, when the coordinator tells it to, and never by itself. Its heartbeats say how the children are, and the answers
// are their lease to begin steps. Thread safety: the main thread, since children die with
// the thread that started them; what the link calls back on the loop is posted to the agent's own io_context.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/control/agent_link.h"
#include "common/control/reporter.h"
#include "common/host_memory.h"
#include "common/log.h"
#include "common/net/loop.h"
#include "common/status_line.h"
#include "launch/agent_recording.h"
#include "launch/placement.h"
#include "launch/run_card.h"
#include "launch/run_plan.h"
#include "launch/supervisor.h"

namespace tutti::launch {

/// What an agent knows once the agents have agreed.
struct AgentSite {
  int index = 0;
  int agents = 1;
  AgentShare share;
  HostPlace host;
  RunConfig config;
  RunCard card;
  Secret secret;
  std::string address;  ///< where this host is reached
  Environment environment;
  std::vector<int> cores;  ///< that this process may use
  pid_t launcher = 0;      ///< whose death ends the run; 0: nobody's
};

class Agent {
 public:
  /// `loop`, `guard` and `screen`, where rank 0's output goes, must outlive it.
  Agent(AgentSite site, Loop& loop, OrphanGuard& guard, StatusLine& screen, Logger log);
  ~Agent();

  /// Until every child is gone; returns this agent's view of the run's exit code. A signal ends the run, too: 130 for
  /// INT, 75 (pre-empted, start me again) for TERM, HUP and USR1, which leave workers that listen the time to end their
  /// step and to save. A second signal ends everything at once.
  Result<int> run();
  /// The signal that ended the run; 0: none.
  int interrupted_by() const noexcept { return interrupted_by_; }
  /// Whether the coordinator called the run over, so that it will have a last word.
  bool dismissed() const noexcept { return dismissed_; }

 private:
  Result<> join();
  Result<> keep_memory();
  void stop_for_another_world();
  void enter_world(const std::string& share);
  std::string host_memory() const;
  void start_children();
  void start_child(ChildPlan plan);
  void start_again(const Start& start);
  ChildPlan plan_of(const MemberId& member) const;
  ChildPlan worker_plan(const WorkerSlot& slot) const;
  ChildPlan shard_plan(int shard) const;
  Bootstrap bootstrap_for(const MemberId& member, int local_rank, int local_size) const;

  void watch_signals();
  void watch_launcher();
  /// Tells the coordinator, again and again, how the children are; its answers are their lease.
  void beat();
  void extend_lease(TimePoint sent);
  void check_lease(TimePoint now);
  void on_signal(int signal);
  void on_second_signal(int signal);
  void give_grace();
  void end(int exit_code);

  AgentSite site_;
  Loop& loop_;
  StatusLine& screen_;
  const Logger log_;
  boost::asio::io_context context_{1};
  boost::asio::signal_set signals_;
  boost::asio::steady_timer launcher_check_;
  boost::asio::steady_timer grace_;
  boost::asio::steady_timer heartbeat_;
  AgentRecording recording_;
  Supervisor supervisor_;
  std::unique_ptr<SegmentKeeper> keeper_;  // the first agent's of a host
  std::unique_ptr<AgentLink> link_;
  const SteadyClock clock_;
  MetricsCounter metrics_;              // an agent has no events to count
  std::unique_ptr<Reporter> reporter_;  // where the run is watched
  std::optional<TimePoint> lease_end_;
  bool told_of_silence_ = false;
  int world_ = 0;                 // counts them
  std::uint32_t begun_in_ = 1;    // the generation in which all began the last time
  bool is_stopping_ = false;      // the children of this world
  std::optional<int> exit_code_;  // set: the run is ending
  int interrupted_by_ = 0;
  std::chrono::steady_clock::time_point asked_at_{};
  bool dismissed_ = false;
};

}  // namespace tutti::launch
