// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/faults.h"

#include <csignal>

#include "common/checkpoint_file.h"
#include "tests/sim/coordinator_process.h"
#include "tests/sim/world.h"

namespace tutti::sim {
namespace {

constexpr std::uint64_t kStepsUnderFaults = 20;
// Faults that come close together can keep a run from making steps at all; that is no failure of its own.
constexpr Duration kLongEnough = std::chrono::minutes(10);
constexpr Duration kRetry = std::chrono::milliseconds(300);
constexpr std::uint64_t kActionsMax = 60;
constexpr Duration kSlowFor = std::chrono::seconds(60);
constexpr std::uint64_t kSlowSteps = 25;
constexpr Duration kToldAgainAfter = std::chrono::minutes(2);  // as in common/control/liveness.cpp

// How often each is drawn.
constexpr std::pair<Fault, int> kWeights[] = {
    {Fault::kKillWorker, 5},       {Fault::kKillShard, 3},     {Fault::kKillAgent, 1}, {Fault::kCrashAtAction, 6},
    {Fault::kPowerCut, 1},         {Fault::kDamage, 1},        {Fault::kStop, 3},      {Fault::kPartition, 2},
    {Fault::kPartitionOneWay, 2},  {Fault::kClog, 3},          {Fault::kCut, 3},       {Fault::kFlip, 3},
    {Fault::kControlPartition, 4}, {Fault::kDataPartition, 2}, {Fault::kSlow, 1},
};

bool is_calm(Fault fault) {
  return fault == Fault::kKillWorker || fault == Fault::kKillShard || fault == Fault::kCrashAtAction ||
         fault == Fault::kSlow;
}

Fault drawn_fault(Draw& draw) {
  int total = 0;
  for (const auto& [fault, weight] : kWeights) total += weight;
  int at = draw.between(1, total);
  for (const auto& [fault, weight] : kWeights) {
    at -= weight;
    if (at <= 0) return fault;
  }
  return Fault::kKillWorker;
}

}  // namespace

std::string_view name_of(Fault fault) {
  constexpr std::string_view kNames[kFaults] = {"a worker was killed",
                                                "a shard was killed",
                                                "an agent was killed",
                                                "a process died of an action",
                                                "the power was cut",
                                                "a checkpoint was damaged",
                                                "a process was stopped",
                                                "a partition",
                                                "a partition one way",
                                                "control was partitioned",
                                                "data was partitioned",
                                                "a clogged path",
                                                "a connection was cut",
                                                "a bit was flipped",
                                                "a worker was slow",
                                                "a push was sent again",
                                                "a disk failed",
                                                "a step waited for a lease",
                                                "a shard died in a sum",
                                                "a result was found in part",
                                                "a result was found whole",
                                                "a rank was behind",
                                                "a worker was named slow"};
  return kNames[static_cast<std::size_t>(fault)];
}

double Faults::loss() const {
  return is_over_ ? 0 : world_.settings().loss;
}

double Faults::repeats() const {
  return is_over_ ? 0 : world_.settings().repeats;
}

void Faults::begin() {
  plan();
}

void Faults::plan() {
  const double gap_max = std::chrono::duration<double>(world_.settings().fault_gap_max).count();
  world_.after(world_.draw().seconds(0.05, gap_max), [this] { next(); });
}

void Faults::next() {
  if (world_.now() < calm_until_) return world_.after(calm_until_ - world_.now(), [this] { next(); });
  const bool is_long_enough = world_.now() > TimePoint(kLongEnough);
  if (happened_ < world_.settings().faults && !is_long_enough) {
    const Fault fault = drawn_fault(world_.draw());
    const bool is_fitting = !world_.settings().is_calm || is_calm(fault);
    if (actions_left_ || !is_fitting || !inject(fault)) return world_.after(kRetry, [this] { next(); });
    if (fault == Fault::kCrashAtAction) return plan();  // it is counted when it happens
    world_.tell("--- {}", name_of(fault));
    count(fault);
    ++happened_;
    return plan();
  }
  const bool is_enough = world_.checks().steps() >= kStepsUnderFaults && !actions_left_;
  if (!is_enough && !is_long_enough) return world_.after(kRetry, [this] { next(); });
  actions_left_.reset();
  is_over_ = true;
  world_.leave_alone();
}

bool Faults::inject(Fault fault) {
  switch (fault) {
    case Fault::kKillWorker:
      return kill_one(Role::kWorker);
    case Fault::kKillShard:
      return kill_one(Role::kServer);
    case Fault::kKillAgent:
      return kill_one(Role::kAgent);
    case Fault::kCrashAtAction:
      actions_left_ = world_.draw().below(kActionsMax);
      return true;
    case Fault::kPowerCut:
      world_.cut_power();
      return true;
    case Fault::kDamage:
      if (!damage_a_checkpoint()) return false;
      world_.cut_power();
      return true;
    case Fault::kStop:
      return stop_one();
    case Fault::kPartition:
      return partition(true);
    case Fault::kPartitionOneWay:
      return partition(false);
    case Fault::kControlPartition:
      return partition_control();
    case Fault::kDataPartition:
      return partition_data();
    case Fault::kSlow:
      return slow_one();
    case Fault::kClog:
      return clog();
    case Fault::kCut:
      return world_.network().cut_one();
    case Fault::kFlip:
      return world_.network().flip_one();
    case Fault::kRepeat:
    case Fault::kFileFailed:
    case Fault::kNoLease:
    case Fault::kDiedInSum:
    case Fault::kFoundInPart:
    case Fault::kFoundWhole:
    case Fault::kBehind:
    case Fault::kNamedSlow:
      break;
  }
  return false;
}

void Faults::acted(Process& process) {
  if (!actions_left_ || process.member().role == Role::kAgent) return;
  if (*actions_left_ > 0) {
    --*actions_left_;
    return;
  }
  actions_left_.reset();
  world_.tell("--- {} dies of what it does", process.name());
  count(Fault::kCrashAtAction);
  ++happened_;
  world_.kill(process.id(), SIGKILL);
}

Result<> Faults::file(Process& process, const std::string& path) {
  acted(process);
  if (process.is_dead()) return fail(Errc::kIo, path + ": the process is dead");
  if (is_over_ || !world_.draw().chance(world_.settings().file_faults)) return {};
  count(Fault::kFileFailed);
  return fail(Errc::kIo, path + ": the disk fails");
}

bool Faults::kill_one(Role role) {
  std::vector<Process*> victims = world_.living(role);
  if (victims.empty()) return false;
  const Process& victim = *world_.draw().from(victims);
  world_.tell("--- kill {}", victim.name());
  world_.kill(victim.id(), SIGKILL);
  return true;
}

bool Faults::damage_a_checkpoint() {
  auto names = list_checkpoints(world_.disk(), kCheckpointFolder);
  if (!names || names->empty()) return false;
  Draw& draw = world_.draw();
  const std::string& folder = draw.chance(0.8) ? names->front() : draw.from(*names);
  const std::string file(draw.chance(0.7) ? kTensorsFile : kManifestFile);
  const std::string path = fmt::format("{}/{}/{}", kCheckpointFolder, folder, file);
  std::string content = world_.disk().content_of(path);
  if (draw.chance(0.3))
    content.resize(draw.below(content.size()));
  else
    content[draw.below(content.size())] ^= static_cast<char>(1u << draw.below(7));
  world_.disk().overwrite(path, content);
  return true;
}

bool Faults::stop_one() {
  Draw& draw = world_.draw();
  std::vector<Process*> victims = world_.living(std::nullopt);
  if (victims.empty()) return false;
  world_.stop(*draw.from(victims), drawn_pause());
  return true;
}

Duration Faults::drawn_pause() {
  Draw& draw = world_.draw();
  return draw.chance(0.5) ? draw.seconds(0.1, 3) : draw.seconds(3, 30);
}

bool Faults::slow_one() {
  Draw& draw = world_.draw();
  std::vector<Process*> victims = world_.living(Role::kWorker);
  CoordinatorProcess* const coordinator = world_.coordinator();
  if (victims.size() < 2 || coordinator == nullptr) return false;
  Process& victim = *draw.from(victims);
  calm_until_ = world_.now() + kSlowFor;
  world_.slow(victim, draw.seconds(1, 2), calm_until_);
  slow_ = {victim.id(), victim.member(), coordinator->generation(), world_.checks().steps()};
  world_.at(calm_until_, [this] { check_slow_one(); });
  return true;
}

// Where nothing else happened, and enough steps were made for two windows of Liveness'.
void Faults::check_slow_one() {
  CoordinatorProcess* const coordinator = world_.coordinator();
  const bool was_undisturbed =
      world_.settings().is_calm && coordinator != nullptr && coordinator->generation() == slow_.generation;
  if (!was_undisturbed || world_.checks().steps() < slow_.steps + kSlowSteps) return;
  const auto named = named_slow_.find(describe(slow_.member));
  check(named != named_slow_.end() && named->second >= world_.now() - kSlowFor - kToldAgainAfter,
        "{} was slow for {} s, and nobody was told", describe(slow_.member), to_seconds(kSlowFor));
}

void Faults::noticed(const std::string& line) {
  const auto name_end = line.find(" on host");
  if (line.find(" is slow: ") == std::string::npos || name_end == std::string::npos) return;
  count(Fault::kNamedSlow);
  named_slow_[line.substr(0, name_end)] = world_.now();
}

int Faults::other_host(int host) {
  const int hosts = world_.settings().hosts;
  return (host + world_.draw().between(1, hosts - 1)) % hosts;
}

// A host is cut off from one other or from all.
bool Faults::partition(bool both_ways) {
  Draw& draw = world_.draw();
  const int hosts = world_.settings().hosts;
  if (hosts == 1) return false;
  const int host = draw.between(0, hosts - 1), other = other_host(host);
  const bool from_all = draw.chance(0.5);
  const TimePoint until = world_.now() + drawn_pause();
  for (int peer = 0; peer < hosts; ++peer) {
    if (peer == host || (peer != other && !from_all)) continue;
    for (const Plane plane : {Plane::kControl, Plane::kData}) {
      world_.network().block(host, peer, plane, until);
      if (both_ways) world_.network().block(peer, host, plane, until);
    }
  }
  return true;
}

// The coordinator is cut off from another host or from all of them, or hears them and is not heard, or the other way
// round; ranks and shards reach each other all the while.
bool Faults::partition_control() {
  Draw& draw = world_.draw();
  const int hosts = world_.settings().hosts;
  if (hosts == 1) return false;
  const int other = draw.between(1, hosts - 1), ways = draw.between(1, 3);
  const bool from_all = draw.chance(0.5);
  const TimePoint until = world_.now() + drawn_pause();
  for (int peer = 1; peer < hosts; ++peer) {
    if (peer != other && !from_all) continue;
    if (ways & 1) world_.network().block(0, peer, Plane::kControl, until);
    if (ways & 2) world_.network().block(peer, 0, Plane::kControl, until);
  }
  return true;
}

bool Faults::partition_data() {
  Draw& draw = world_.draw();
  if (world_.settings().hosts == 1) return false;
  const int host = draw.between(0, world_.settings().hosts - 1), other = other_host(host);
  const TimePoint until = world_.now() + drawn_pause();
  world_.network().block(host, other, Plane::kData, until);
  if (draw.chance(0.5)) world_.network().block(other, host, Plane::kData, until);
  return true;
}

bool Faults::clog() {
  Draw& draw = world_.draw();
  if (world_.settings().hosts == 1) return false;
  const int host = draw.between(0, world_.settings().hosts - 1);
  world_.network().clog(host, other_host(host), draw.seconds(0.1, 5), world_.now() + draw.seconds(0.5, 20));
  return true;
}

}  // namespace tutti::sim
