// SPDX-License-Identifier: Apache-2.0
#include "launch/explain.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <string.h>
#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>
#include <tuple>

#include "common/control/cause.h"
#include "common/stack_file.h"
#include "common/whereabouts.h"
#include "launch/first_stop.h"

namespace tutti::launch {
namespace {

namespace fs = std::filesystem;
using Doing = Whereabouts::Doing;

constexpr std::size_t kSideBySideMax = 6;
constexpr std::size_t kLineWidth = 120, kTimeWidth = 10, kColumnMax = 32;

std::string describe_end(int wait_status) {
  if (!WIFSIGNALED(wait_status)) return fmt::format("exited with code {}", WEXITSTATUS(wait_status));
  const char* name = sigdescr_np(WTERMSIG(wait_status));
  return fmt::format("killed by signal {} ({})", WTERMSIG(wait_status), name ? name : "unknown");
}

/// "rank 1", and its generation where it replaced another.
std::string name_of(const RecordedProcess& process) {
  const std::string name = describe(MemberId{process.role, process.rank});
  return process.generation <= 1 ? name : fmt::format("{} g{}", name, process.generation);
}

/// What was finished: "step 36, bucket 2 of step 37".
std::string describe_done(const Whereabouts& place) {
  std::string text = place.step ? fmt::format("step {}", *place.step) : "";
  if (!place.done) return text;
  return text + fmt::format("{}bucket {} of step {}", text.empty() ? "" : ", ", place.done->bucket, place.done->step);
}

/// An event in a cell: where it is too long, its name is cut and not its number.
std::string fit(const Event& event, std::size_t width) {
  const std::string text = describe(event);
  if (text.size() <= width) return text;
  const std::size_t space = std::min(text.find(' '), text.size());
  const std::string number = text.substr(space);
  if (number.size() + 1 >= width) return text.substr(0, width);
  return text.substr(0, width - number.size() - 1) + "~" + number;
}

class Explanation {
 public:
  explicit Explanation(const std::vector<Recording>& recordings)
      : recordings_(recordings),
        places_(places_of(recordings)),
        axis_(recordings),
        first_(find_first_stop(recordings, places_, axis_)) {}

  std::string heading() const;
  std::string verdict() const;
  std::string last_events(std::size_t count) const;

 private:
  struct Row {
    std::int64_t wall_ns;
    std::size_t recording;
    Event event;
  };

  static std::vector<Whereabouts> places_of(const std::vector<Recording>& recordings);
  std::int64_t wall_ns(std::size_t i, TimePoint time) const { return axis_.wall_ns(recordings_[i].process.host, time); }
  double seconds(std::int64_t wall_ns) const { return static_cast<double>(wall_ns - first_.wall_ns) / 1e9; }
  std::string describe_process(std::size_t i) const;
  std::string describe_first() const;
  std::string describe_time(std::int64_t wall_ns) const;
  std::vector<Row> rows_of(std::size_t i) const;
  std::string side_by_side(std::size_t count) const;
  std::string one_after_the_other(std::size_t count) const;

  const std::vector<Recording>& recordings_;
  const std::vector<Whereabouts> places_;
  const TimeAxis axis_;
  const FirstStop first_;
};

std::vector<Whereabouts> Explanation::places_of(const std::vector<Recording>& recordings) {
  std::vector<Whereabouts> places;
  for (const Recording& recording : recordings) places.push_back(locate(recording));
  return places;
}

std::string Explanation::heading() const {
  std::set<std::string> hosts;
  for (const Recording& recording : recordings_) hosts.insert(recording.process.host);
  const auto milliseconds = first_.wall_ns / 1'000'000;
  return fmt::format("{} recording{} of {}; 0 s is {:%Y-%m-%d %H:%M:%S}.{:03} UTC\n", recordings_.size(),
                     recordings_.size() == 1 ? "" : "s", fmt::join(hosts, ", "),
                     fmt::gmtime(static_cast<std::time_t>(milliseconds / 1000)), milliseconds % 1000);
}

std::string Explanation::describe_process(std::size_t i) const {
  const Whereabouts& place = places_[i];
  const double since = seconds(wall_ns(i, place.since));
  std::string text;
  switch (place.doing) {
    case Doing::kNothing:
      text = fmt::format("recorded nothing since its start at {:+.3f} s", since);
      break;
    case Doing::kWorking:
      text = fmt::format("last recorded {} at {:+.3f} s", describe(place.last), since);
      break;
    case Doing::kSaving:
      text = fmt::format("was saving a checkpoint since {:+.3f} s", since);
      break;
    case Doing::kWaiting:
    case Doing::kAsking:
      text = fmt::format("waited for {} since {:+.3f} s", awaited(place), since);
  }
  const std::string done = describe_done(place);
  return done.empty() ? text : text + "; done: " + done;
}

std::string Explanation::describe_first() const {
  std::string text = describe(first_.member);
  if (first_.recording) {
    const RecordedProcess& process = recordings_[*first_.recording].process;
    text = name_of(process) + " on " + process.host;
  }
  text += first_.all_waited ? " is the furthest behind, and every rank waited" : " stopped first";
  if (first_.wait_status) text += ": " + describe_end(*first_.wait_status);
  if (!first_.recording) return text + "; it left no recording";
  return text + (first_.wait_status ? "; it " : ": it ") + describe_process(*first_.recording);
}

std::string Explanation::verdict() const {
  std::string text = describe_first() + "\n";
  for (std::size_t i = 0; i < recordings_.size(); ++i) {
    const RecordedProcess& process = recordings_[i].process;
    if (first_.recording == i) continue;
    text += fmt::format("{} on {} {}\n", name_of(process), process.host, describe_process(i));
  }
  for (const Recording& recording : recordings_) {
    if (recording.torn == 0) continue;
    text += fmt::format("{}: {} entries were not whole and are left out\n", name_of(recording.process), recording.torn);
  }
  return text;
}

std::string Explanation::describe_time(std::int64_t wall_ns) const {
  const double time = seconds(wall_ns);
  return std::abs(time) < 99 ? fmt::format("{:+{}.6f}", time, kTimeWidth) : fmt::format("{:+{}.3f}", time, kTimeWidth);
}

std::vector<Explanation::Row> Explanation::rows_of(std::size_t i) const {
  std::vector<Row> rows;
  for (const Event& event : recordings_[i].events) rows.push_back({wall_ns(i, event.time), i, event});
  return rows;
}

std::string Explanation::side_by_side(std::size_t count) const {
  std::vector<Row> rows;
  for (std::size_t i = 0; i < recordings_.size(); ++i) {
    for (const Row& row : rows_of(i)) rows.push_back(row);
  }
  std::ranges::stable_sort(rows, {}, [](const Row& row) { return row.wall_ns; });
  const std::size_t width = std::min(kColumnMax, (kLineWidth - kTimeWidth) / recordings_.size()) - 1;

  std::string text = fmt::format("{:>{}}", "s", kTimeWidth);
  for (const Recording& recording : recordings_) text += fmt::format(" {:{}}", name_of(recording.process), width);
  text = text.substr(0, text.find_last_not_of(' ') + 1) + "\n";
  for (std::size_t i = rows.size() - std::min(count, rows.size()); i < rows.size(); ++i) {
    const std::string indent(rows[i].recording * (width + 1) + 1, ' ');
    text += describe_time(rows[i].wall_ns) + indent + fit(rows[i].event, width) + "\n";
  }
  return text;
}

std::string Explanation::one_after_the_other(std::size_t count) const {
  std::string text;
  for (std::size_t i = 0; i < recordings_.size(); ++i) {
    const RecordedProcess& process = recordings_[i].process;
    text += fmt::format("{}{} on {}, process {}\n", i == 0 ? "" : "\n", name_of(process), process.host, process.pid);
    const std::vector<Row> rows = rows_of(i);
    for (std::size_t row = rows.size() - std::min(count, rows.size()); row < rows.size(); ++row) {
      text += describe_time(rows[row].wall_ns) + " " + describe(rows[row].event) + "\n";
    }
  }
  return text;
}

std::string Explanation::last_events(std::size_t count) const {
  if (count == 0) return "";
  return "\n" + (recordings_.size() <= kSideBySideMax ? side_by_side(count) : one_after_the_other(count));
}

std::string describe_stacks(const RecordingFolder& folder) {
  std::string text;
  for (const Recording& recording : folder.recordings) {
    const auto stack = folder.stacks.find(recording_name(recording.process));
    if (stack == folder.stacks.end()) continue;
    text +=
        fmt::format("\n{} on {}, its stack when it was ended:\n", name_of(recording.process), recording.process.host);
    for (const std::string& frame : stack->second) text += "  " + frame + "\n";
  }
  return text;
}

std::vector<std::string> lines_of(const fs::path& path) {
  std::vector<std::string> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

std::vector<fs::path> recordings_in(const fs::path& folder, std::error_code& error) {
  std::vector<fs::path> paths;
  for (auto entry = fs::directory_iterator(folder, error); !error && entry != fs::end(entry); entry.increment(error)) {
    if (entry->path().extension() == ".rec") paths.push_back(entry->path());
  }
  std::ranges::sort(paths);
  return paths;
}

}  // namespace

Result<RecordingFolder> read_recordings(const std::string& folder) {
  std::error_code error;
  std::vector<fs::path> paths = recordings_in(folder, error);
  if (error) return fail(Errc::kIo, folder + " cannot be read: " + error.message());
  if (paths.empty() && fs::is_directory(fs::path(folder) / "recordings", error)) {
    paths = recordings_in(fs::path(folder) / "recordings", error);
  }
  RecordingFolder found;
  for (const fs::path& path : paths) {
    auto recording = read_recording(path.string());
    if (recording) {
      auto stack = lines_of(stack_path(path.string()));
      if (!stack.empty()) found.stacks[recording_name(recording->process)] = std::move(stack);
      found.recordings.push_back(*std::move(recording));
    } else {
      found.skipped.push_back(recording.error().text());
    }
  }
  if (found.recordings.empty()) {
    return fail(Errc::kBadData, fmt::format("{} holds no recording{}{}", folder, found.skipped.empty() ? "" : ": ",
                                            fmt::join(found.skipped, "; ")));
  }
  std::ranges::sort(found.recordings, {}, [](const Recording& recording) {
    return std::tuple(recording.process.role, recording.process.rank, recording.process.generation);
  });
  return found;
}

std::string explain(const RecordingFolder& folder, int events) {
  std::string text;
  for (const std::string& why : folder.skipped) text += "skipped: " + why + "\n";
  const Explanation explanation(folder.recordings);
  return text + explanation.heading() + explanation.verdict() + describe_stacks(folder) +
         explanation.last_events(static_cast<std::size_t>(std::max(events, 0)));
}

}  // namespace tutti::launch
