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

constexpr double kSecond = 1e9;

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
  const auto before = commits(diaries, 0, strike.ns);
  // A step that ends just after the fault was on its way before: the next one that all ranks begin again counts.
  const auto successor = [&]() -> std::int64_t {
    if (strike.rank < 0 || strike.role != Role::kWorker) return strike.ns;
    for (const Stamp& stamp : diaries[static_cast<std::size_t>(strike.rank)]) {
      if (stamp.step < 0 && stamp.ns > strike.ns) return stamp.ns;
    }
    return strike.ns;
  }();
  const auto after = commits(diaries, strike.ns, until_ns);
  std::int64_t first = std::numeric_limits<std::int64_t>::max();
  for (const auto& [step, ns] : after) {
    first = std::min(first, step);
    if (ns > successor && !measured.resumed_s) measured.resumed_s = static_cast<double>(ns - strike.ns) / kSecond;
  }
  measured.before = static_cast<std::int64_t>(before.size());
  measured.after = static_cast<std::int64_t>(after.size());
  if (!before.empty() && !after.empty()) measured.lost = std::max<std::int64_t>(0, before.rbegin()->first + 1 - first);
  for (const Event& event : agent) {
    const std::int64_t ns = event.time.time_since_epoch().count();
    const bool is_it = event.kind == EventKind::kMemberLost && event.rank == strike.rank && ns > strike.ns &&
                       event.object == static_cast<std::uint32_t>(strike.role);
    if (is_it && !measured.detected_s) measured.detected_s = static_cast<double>(ns - strike.ns) / kSecond;
  }
  return measured;
}

}  // namespace tutti::testing
