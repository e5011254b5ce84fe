// SPDX-License-Identifier: Apache-2.0
// A process of a simulated world: it lives on a host, can be killed at any moment and be stopped for a while. What it
// planned does not happen once it is dead, and happens later when it is stopped.
#pragma once

#include <algorithm>
#include <functional>
#include <string>
#include <utility>

#include "common/clock.h"
#include "common/control/cause.h"
#include "common/secret.h"

namespace tutti::sim {

class World;

/// What the members of one run share: the next run makes another one.
struct Job {
  int run = 0;
  Secret secret;
  JobId id{};
};

class Process {
 public:
  using Id = int;

  Process(World& world, Id id, int host, MemberId member, const Job& job)
      : world_(world), id_(id), host_(host), member_(member), job_(job) {}
  virtual ~Process() = default;
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  virtual void start() = 0;
  /// Agents are told how their children ended.
  virtual void child_exited(const MemberId&, int /*wait_status*/) {}
  virtual std::string name() const { return describe(member_); }

  World& world() const noexcept { return world_; }
  Id id() const noexcept { return id_; }
  int host() const noexcept { return host_; }
  const MemberId& member() const noexcept { return member_; }
  const Job& job() const noexcept { return job_; }
  /// What it still does in the event in which it died has no effect.
  bool is_dead() const noexcept { return is_dead_; }

  TimePoint now() const;
  /// How much longer each step of its takes at present.
  Duration slowness() const { return now() < slow_until_ ? slow_by_ : Duration::zero(); }
  /// It stood still for so long, this time or the last one.
  Duration stopped_for() const { return std::min(now(), stopped_until_) - stopped_since_; }
  TimePoint stopped_until() const noexcept { return stopped_until_; }
  void after(Duration delay, std::function<void()> f);
  /// It ends by itself, or by a signal, as waitpid would tell.
  void exit(int wait_status);

 private:
  friend class World;
  World& world_;
  const Id id_;
  const int host_;
  const MemberId member_;
  const Job job_;
  bool is_dead_ = false;
  TimePoint stopped_since_{}, stopped_until_{};
  TimePoint slow_until_{};
  Duration slow_by_{};
};

}  // namespace tutti::sim
