// SPDX-License-Identifier: Apache-2.0
// tests/sim: whole runs of tutti in virtual time, without processes, sockets and disks, each from one seed. The
// machines are production's own (coordinator, shard, client, handshake, frames, checkpoints); what is simulated is the
// network (network.h), the disk (tests/support/memory_file_system.h), the processes around the machines, and whoever
// started the run: a run that ends early is started again, and goes on from the newest checkpoint. A world holds the
// promises of checks.h until it has made its steps, or is a Violation.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/sim/checks.h"
#include "tests/sim/draw.h"
#include "tests/sim/faults.h"
#include "tests/sim/network.h"
#include "tests/sim/process.h"
#include "tests/sim/settings.h"
#include "tests/sim/timeline.h"
#include "tests/sim/violation.h"
#include "tests/support/memory_file_system.h"

namespace tutti::sim {

class CoordinatorProcess;

inline constexpr Port kCoordinatorPort = 1;
inline const std::string kCheckpointFolder = "run/checkpoints";

class World {
 public:
  /// `tells`: prints what happens.
  World(std::uint64_t seed, bool tells);
  ~World();
  /// Until the last step is made. Throws a Violation.
  void run();

  const Settings& settings() const noexcept { return settings_; }
  const Faults& faults() const noexcept { return faults_; }
  int runs() const noexcept { return runs_; }

  // For what lives in it.
  TimePoint now() const noexcept { return timeline_.now(); }
  void at(TimePoint when, Timeline::Event f) { timeline_.at(when, std::move(f)); }
  void after(Duration delay, Timeline::Event f) { timeline_.after(delay, std::move(f)); }
  /// Now, if the process lives; when it goes on, if it is stopped.
  void run(Process::Id process, Timeline::Event f);
  Draw& draw() noexcept { return draw_; }
  Network& network() noexcept { return network_; }
  testing::MemoryFileSystem& disk() noexcept { return disk_; }
  Checks& checks() noexcept { return checks_; }
  double loss() const { return faults_.loss(); }
  double repeats() const { return faults_.repeats(); }
  void count(Fault fault) { faults_.count(fault); }
  void noticed(const std::string& line) { faults_.noticed(line); }
  void acted(Process& process) { faults_.acted(process); }
  Result<> file(Process& process, const std::string& path) { return faults_.file(process, path); }
  Nonce nonce();
  Port new_port() noexcept { return ++last_port_; }
  /// Workers stop after so many steps: not before the world is left alone.
  std::uint64_t total_steps() const noexcept { return total_steps_; }
  template <class... Arguments>
  void tell(fmt::format_string<Arguments...> text, Arguments&&... arguments) {
    if (tells_) print(fmt::format(text, std::forward<Arguments>(arguments)...));
  }

  /// `make` is given the process' number. It dies with its parent.
  template <class Make>
  Process::Id spawn(const Make& make, Process::Id parent) {
    const Process::Id id = ++last_process_;
    adopt(make(id), parent);
    return id;
  }
  void kill(Process::Id process, int signal);
  void end(Process& process, int wait_status);
  void run_finished(const Process& coordinator, int exit_code);

  // For faults.
  std::vector<Process*> living(std::optional<Role> role);
  void stop(Process& process, Duration duration);
  void slow(Process& process, Duration by, TimePoint until);
  /// Null: none at present.
  CoordinatorProcess* coordinator();
  void cut_power();
  void leave_alone();

 private:
  struct Entry {
    std::unique_ptr<Process> process;
    Process::Id parent = 0;
  };
  void adopt(std::unique_ptr<Process> process, Process::Id parent);
  void start_run();
  void run_is_over(const std::string& why);
  void bury();
  void print(const std::string& text) const;
  std::string describe_processes() const;

  const std::uint64_t seed_;
  const bool tells_;
  Timeline timeline_;
  Draw draw_;
  const Settings settings_;
  Checks checks_;
  Faults faults_;
  Network network_;
  testing::MemoryFileSystem disk_;
  std::map<Process::Id, Entry> processes_;
  Process::Id last_process_ = 0;
  Port last_port_ = kCoordinatorPort;
  std::uint64_t total_steps_ = std::numeric_limits<std::uint64_t>::max();
  int runs_ = 0;
  bool is_run_over_ = false;
  bool is_done_ = false;
  bool has_dead_ = false;
  std::optional<TimePoint> deadline_;
};

}  // namespace tutti::sim
