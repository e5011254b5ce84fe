// SPDX-License-Identifier: Apache-2.0
#include "common/trace/merge.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <span>
#include <utility>

#include "common/file.h"
#include "common/trace/part.h"
#include "common/trace/part_reader.h"
#include "common/trace/write_timelines.h"

namespace tutti {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr std::string_view kAside = ".json";

/// What lies in a folder and ends so, sorted.
std::vector<fs::path> files_in(const std::string& folder, std::string_view extension, std::error_code& error) {
  std::vector<fs::path> found;
  for (auto entry = fs::directory_iterator(folder, error); !error && entry != fs::end(entry); entry.increment(error)) {
    if (entry->path().extension() == extension) found.push_back(entry->path());
  }
  std::ranges::sort(found);
  return found;
}

void remove_all_in(const std::string& folder, std::string_view extension) {
  std::error_code ignored;
  for (const fs::path& path : files_in(folder, extension, ignored)) fs::remove(path, ignored);
}

json::object describe_clocks(const ClockMap& clocks) {
  json::object hosts;
  for (const auto& [host, clock] : clocks.hosts()) {
    const bool is_measured = clock.by == ClockMap::HostClock::By::kReadings;
    json::object told{{"by", is_measured ? "round trips" : "wall clock"},
                      {"offset_ns", clock.readings.back().offset.count()}};
    if (is_measured) {
      told["uncertainty_ns"] = ClockMap::uncertainty(clock).count();
      told["readings"] = clock.readings.size();
    }
    hosts[host] = std::move(told);
  }
  return hosts;
}

class Merge {
 public:
  Merge(const std::string& folder, const std::atomic<bool>* stop) : folder_(folder), stop_(stop) {}

  Result<> read_heads();
  Result<> write(ChromeWriter& writer);
  MergedTrace& result() noexcept { return result_; }

 private:
  bool is_stopped() const noexcept { return stop_ != nullptr && stop_->load(std::memory_order_relaxed); }
  void add(const std::string& path);
  std::string about(const ClockMap& clocks) const;

  const std::string& folder_;
  const std::atomic<bool>* const stop_;
  MergedTrace result_;
  std::vector<TraceSource> sources_;
  std::vector<std::uint64_t> torn_;
};

Result<> Merge::read_heads() {
  std::error_code error;
  const std::vector<fs::path> paths = files_in(folder_, kPartExtension, error);
  if (error) return fail(Errc::kIo, "cannot read " + folder_ + ": " + error.message());
  for (const fs::path& path : paths) add(path.string());
  return {};
}

// What is known of its host's clock has to be known before the first event is placed: each part is read twice.
void Merge::add(const std::string& path) {
  auto reader = PartReader::open(path);
  if (!reader) return result_.skipped.push_back(reader.error().text());
  TraceSource source{reader->head(), {}, {}};
  while (const auto event = reader->next()) {
    if (is_stopped()) return;
    if (event->kind != EventKind::kClockOffset) continue;
    source.readings.push_back({event->time, Duration(static_cast<std::int64_t>(event->bytes)),
                               Duration(static_cast<std::int64_t>(event->step))});
  }
  result_.torn += reader->torn();
  const auto [device, inode] = reader->identity();
  result_.parts.push_back({path, device, inode});
  source.next = [this, path, again = std::shared_ptr<PartReader>()]() mutable -> std::optional<Event> {
    if (!again) {
      auto opened = PartReader::open(path);
      if (!opened) return std::nullopt;
      again = std::make_shared<PartReader>(*std::move(opened));
    }
    auto event = is_stopped() ? std::nullopt : again->next();
    if (!event) again.reset();
    return event;
  };
  sources_.push_back(std::move(source));
}

std::string Merge::about(const ClockMap& clocks) const {
  json::object about{{"processes", sources_.size()},
                     {"torn_entries", result_.torn},
                     {"skipped_parts", json::array(result_.skipped.begin(), result_.skipped.end())},
                     {"clocks", describe_clocks(clocks)}};
  return json::serialize(about);
}

Result<> Merge::write(ChromeWriter& writer) {
  const ClockMap clocks = write_timelines(sources_, writer);
  if (is_stopped()) return fail(Errc::kCancelled, "the merge of " + folder_ + " was stopped");
  return writer.finish(about(clocks));
}

Result<> fill(int fd, const std::string& path, Merge& merge) {
  ChromeWriter writer([&](std::string_view text) { return write_all(fd, std::as_bytes(std::span(text)), path); });
  return merge.write(writer);
}

/// Whole, under another name, and then in the place of what was there.
Result<> replace(const std::string& folder, const std::string& trace, Merge& merge) {
  const std::string aside = fmt::format("{}/merged-{}{}", folder, ::getpid(), kAside);
  const FileDescriptor file(::open(aside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!file) return fail_errno("the trace cannot be written to " + aside, errno);
  Result<> written = fill(file.get(), aside, merge);
  if (written && ::rename(aside.c_str(), trace.c_str()) != 0) {
    written = fail_errno("the trace cannot be put to " + trace, errno);
  }
  if (!written) ::unlink(aside.c_str());
  return written;
}

}  // namespace

Result<MergedTrace> merge_trace(const std::string& folder, const std::string& trace, const std::atomic<bool>* stop) {
  Merge merge(folder, stop);
  TUTTI_TRY(merge.read_heads());
  TUTTI_TRY(replace(folder, trace, merge));
  return std::move(merge.result());
}

void remove_parts(const std::string& folder, const MergedTrace& merged) noexcept {
  for (const MergedTrace::Part& part : merged.parts) {
    struct stat there {};
    const bool is_it =
        ::stat(part.path.c_str(), &there) == 0 && there.st_dev == part.device && there.st_ino == part.inode;
    if (is_it) ::unlink(part.path.c_str());
  }
  remove_all_in(folder, kAside);  // of a merge whose process was killed
  ::rmdir(folder.c_str());
}

Result<> prepare_trace(const std::string& trace) {
  const std::string folder = parts_folder(trace);
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return fail(Errc::kIo, "cannot make " + folder + " for the trace's parts: " + error.message());
  remove_all_in(folder, kPartExtension);
  remove_all_in(folder, kAside);
  const auto merged = merge_trace(folder, trace);
  return merged ? Result<>() : Result<>(merged.error());
}

Result<std::vector<std::string>> finish_trace(const std::string& trace) {
  const std::string folder = parts_folder(trace);
  auto merged = merge_trace(folder, trace);
  if (!merged) return merged.error();
  remove_parts(folder, *merged);
  return std::move(merged->skipped);
}

}  // namespace tutti
