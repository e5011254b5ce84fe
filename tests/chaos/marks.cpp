// SPDX-License-Identifier: Apache-2.0
#include "tests/chaos/marks.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <set>
#include <sstream>

namespace tutti::testing {
namespace {

Diary read_diary(const std::string& path) {
  Diary diary;
  std::ifstream file(path);
  pid_t pid = 0;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string first;
    std::int64_t ns = 0;
    words >> first;
    if (first == "start") words >> pid;
    // A line that is being written ends later.
    if (words >> ns) diary.push_back({pid, first == "start" ? -1 : std::stol(first), ns});
  }
  return diary;
}

/// When each step was made for the first time on all ranks, by the last of them.
std::map<std::int64_t, std::int64_t> commits(const std::vector<Diary>& diaries, std::int64_t from_ns,
                                             std::int64_t to_ns) {
  std::map<std::int64_t, std::int64_t> last;
  std::map<std::int64_t, std::set<std::size_t>> ranks;
  for (std::size_t rank = 0; rank < diaries.size(); ++rank) {
    for (const Stamp& stamp : diaries[rank]) {
      if (stamp.step < 0 || stamp.ns <= from_ns || stamp.ns > to_ns) continue;
      if (ranks[stamp.step].insert(rank).second) last[stamp.step] = std::max(last[stamp.step], stamp.ns);
    }
  }
  std::erase_if(last, [&](const auto& entry) { return ranks[entry.first].size() < diaries.size(); });
  return last;
}

/// When whoever follows the struck one began: a worker's successor, or, after all were struck, the first of the new
/// processes. The moment of the strike where there is none, since nobody was replaced or it was no worker.
std::int64_t successors_begin(const std::vector<Diary>& diaries, const Strike& strike, std::int64_t until_ns) {
  std::optional<std::int64_t> begin;
  for (std::size_t rank = 0; rank < diaries.size(); ++rank) {
    const bool is_struck = strike.rank < 0 || strike.role == Role::kAgent ||
                           (strike.role == Role::kWorker && static_cast<std::size_t>(strike.rank) == rank);
    if (!is_struck) continue;
    for (const Stamp& stamp : diaries[rank]) {
      if (stamp.step < 0 && stamp.ns > strike.ns && stamp.ns < until_ns)
        begin = std::min(begin.value_or(stamp.ns), stamp.ns);
    }
  }
  return begin.value_or(strike.ns);
}

/// The first commit of the successors. Where there are none, the steps that were on their way when the fault struck are
/// told from those that follow by the longest pause between two commits.
std::optional<std::int64_t> end_of_pause(const std::vector<Diary>& diaries, const Strike& strike, std::int64_t begin,
                                         std::int64_t until_ns) {
  std::vector<std::int64_t> times{strike.ns};
  for (const auto& [step, ns] : commits(diaries, begin, until_ns)) times.push_back(ns);
  if (times.size() == 1) return std::nullopt;
  std::ranges::sort(times);
  if (begin != strike.ns) return times[1];
  std::size_t longest = 1;
  for (std::size_t i = 1; i < times.size(); ++i) {
    if (times[i] - times[i - 1] > times[longest] - times[longest - 1]) longest = i;
  }
  return times[longest];
}

double seconds(std::int64_t ns) {
  return static_cast<double>(ns) / 1e9;
}

}  // namespace

std::int64_t monotonic_ns() {
  return std::chrono::steady_clock::now().time_since_epoch().count();
}

Marks::Marks(std::string folder, int ranks) : folder_(std::move(folder)), ranks_(ranks) {}

std::vector<Diary> Marks::diaries() const {
  std::vector<Diary> all;
  for (int rank = 0; rank < ranks_; ++rank)
    all.push_back(read_diary(folder_ + "/rank-" + std::to_string(rank) + ".steps"));
  return all;
}

std::vector<Strike> Marks::strikes() const {
  std::vector<Strike> strikes;
  for (int i = 0;; ++i) {
    std::ifstream file(folder_ + "/fault-" + std::to_string(i));
    Strike strike;
    if (!(file >> strike.rank >> strike.step >> strike.ns)) return strikes;
    strikes.push_back(strike);
  }
}

pid_t Marks::pid(int rank) const {
  const Diary diary = read_diary(folder_ + "/rank-" + std::to_string(rank) + ".steps");
  return diary.empty() ? 0 : diary.back().pid;
}

std::int64_t Marks::committed() const {
  std::int64_t least = std::numeric_limits<std::int64_t>::max();
  for (const Diary& diary : diaries()) least = std::min(least, diary.empty() ? 0 : diary.back().step + 1);
  return least;
}

Measured measure(const std::vector<Diary>& diaries, const Strike& strike, std::int64_t until_ns,
                 std::span<const Event> agent) {
  Measured measured;
  const std::int64_t begin = successors_begin(diaries, strike, until_ns);
  const auto before = commits(diaries, 0, begin), after = commits(diaries, begin, until_ns);
  measured.before = static_cast<std::int64_t>(before.size());
  measured.after = static_cast<std::int64_t>(after.size());
  if (!before.empty() && !after.empty())
    measured.lost = std::max<std::int64_t>(0, before.rbegin()->first + 1 - after.begin()->first);
  if (const auto resumed = end_of_pause(diaries, strike, begin, until_ns))
    measured.resumed_s = seconds(*resumed - strike.ns);
  for (const Event& event : agent) {
    const std::int64_t ns = event.time.time_since_epoch().count();
    // Which of the shards a process is, the test does not know.
    const bool is_named = event.rank == strike.rank || strike.role == Role::kServer;
    const bool is_it = event.kind == EventKind::kMemberLost && is_named && ns > strike.ns && ns <= until_ns &&
                       event.object == static_cast<std::uint32_t>(strike.role);
    if (is_it && !measured.detected_s) measured.detected_s = seconds(ns - strike.ns);
  }
  return measured;
}

}  // namespace tutti::testing
