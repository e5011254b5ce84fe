// SPDX-License-Identifier: Apache-2.0
// The children of one agent: starts them with what they need to know, watches them, forwards what they write, and ends
// them all. Thread safety: lives on the agent's main thread; its callbacks run there, from the io_context.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <list>
#include <optional>
#include <string>
#include <vector>

#include "common/bootstrap.h"
#include "common/control/coordinator_fsm.h"
#include "launch/child_output.h"
#include "launch/child_process.h"
#include "launch/child_watch.h"
#include "launch/orphan_guard.h"

namespace tutti::launch {

struct ChildPlan {
  MemberId member;
  ChildSpec program;  ///< its descriptors and TUTTI_* variables are added by start()
  Bootstrap bootstrap;
  std::string log_path;
  StatusLine* forward_output = nullptr;  ///< to the agent's own stdout and stderr; null: only to the log
};

struct ChildExit {
  MemberId member;
  int wait_status = 0;     ///< as waitpid gives it
  std::uint64_t step = 0;  ///< the last one it reported in its status page
  std::string last_error;  ///< the last line of its stderr
};

class Supervisor {
 public:
  using OnExit = std::function<void(const ChildExit&)>;
  /// `period`: how often look() is called.
  Supervisor(boost::asio::io_context& context, OrphanGuard& guard, Duration period, OnExit on_exit);
  ~Supervisor();

  Result<> start(ChildPlan plan);
  /// Asks the children to stop after their step; false where none of them would hear it.
  bool ask_to_stop() noexcept;
  /// How each child is.
  std::vector<ChildBeat> look(TimePoint now);
  /// The children, and those that are started later, begin no step after `end`.
  void set_lease(TimePoint end) noexcept;
  /// Asks the children to end (TERM), ends those that have not 0.3 s later (KILL), and calls `all_gone` once every one
  /// was reaped and its output taken. Exits from here on are not reported: they are our doing.
  void stop(std::function<void()> all_gone);
  /// At once.
  void kill() noexcept;
  /// One of them, if it is still there, after it has had a moment to leave its stack; its exit is reported like any
  /// other.
  void evict(const MemberId& member);
  bool empty() const noexcept { return children_.empty(); }

 private:
  struct Child;
  void watch_exits();
  void reap();
  void forget_if_gone();
  void kill_after_stack(const MemberId& member, int pid);

  boost::asio::io_context& context_;
  OrphanGuard& guard_;
  const Duration period_;
  const OnExit on_exit_;
  boost::asio::signal_set exits_;
  boost::asio::steady_timer patience_;
  std::list<Child> children_;
  std::optional<TimePoint> lease_end_;
  std::function<void()> all_gone_;  // set: stopping
};

}  // namespace tutti::launch
