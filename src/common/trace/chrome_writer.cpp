// SPDX-License-Identifier: Apache-2.0
#include "common/trace/chrome_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <boost/json/string.hpp>
#include <iterator>
#include <utility>

namespace tutti {
namespace {

constexpr std::size_t kWriteBytes = 64 * 1024;
// Viewers tell threads apart by their number alone, and some show them in its order.
constexpr std::int64_t kThreadsInAProcess = 100'000;
constexpr std::int64_t kLanesOfAKind = 10'000;

std::string quoted(std::string_view text) {
  return boost::json::serialize(boost::json::string(text));
}

/// Nanoseconds as microseconds, with all their digits.
std::string in_us(std::int64_t ns) {
  const std::uint64_t size = ns < 0 ? 0 - static_cast<std::uint64_t>(ns) : static_cast<std::uint64_t>(ns);
  return fmt::format("{}{}.{:03}", ns < 0 ? "-" : "", size / 1000, size % 1000);
}

std::string name_of_lane(const Lane& lane, Role role) {
  constexpr const char* names[] = {"main", "checkpoint", "exchange", "push", "pull", "sums"};
  const bool is_training = lane.kind == Lane::Kind::kMain && role == Role::kWorker;
  const std::string name = is_training ? "training" : names[static_cast<int>(lane.kind)];
  return lane.number == 0 ? name : fmt::format("{} {}", name, lane.number + 1);
}

}  // namespace

ChromeWriter::ChromeWriter(Write write)
    : write_(std::move(write)), text_("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[") {}

void ChromeWriter::flush(std::size_t bytes_least) {
  if (text_.size() < bytes_least) return;
  if (state_) state_ = write_(text_);
  text_.clear();
}

void ChromeWriter::begin_event() {
  flush(kWriteBytes);
  text_ += any_ ? ",\n" : "\n";
  any_ = true;
}

void ChromeWriter::begin_process(int pid, const std::string& name, Role role,
                                 std::function<std::int64_t(TimePoint)> ns_of) {
  pid_ = pid;
  role_ = role;
  ns_of_ = std::move(ns_of);
  threads_.clear();
  const auto tell = [&](const char* what, const std::string& argument) {
    begin_event();
    fmt::format_to(std::back_inserter(text_), R"({{"ph":"M","name":"{}","pid":{},"args":{{{}}}}})", what, pid_,
                   argument);
  };
  tell("process_name", "\"name\":" + quoted(name));
  tell("process_sort_index", fmt::format("\"sort_index\":{}", pid));
}

std::int64_t ChromeWriter::thread_of(const Lane& lane) {
  const std::int64_t order = static_cast<std::int64_t>(lane.kind) * kLanesOfAKind + lane.number + 1;
  const std::int64_t thread = pid_ * kThreadsInAProcess + order;
  if (!threads_.insert(lane).second) return thread;
  begin_event();
  fmt::format_to(std::back_inserter(text_),
                 R"({{"ph":"M","name":"thread_name","pid":{},"tid":{},"args":{{"name":{}}}}})", pid_, thread,
                 quoted(name_of_lane(lane, role_)));
  begin_event();
  fmt::format_to(std::back_inserter(text_),
                 R"({{"ph":"M","name":"thread_sort_index","pid":{},"tid":{},"args":{{"sort_index":{}}}}})", pid_,
                 thread, order);
  return thread;
}

void ChromeWriter::put_arguments(const TraceArguments& arguments) {
  text_ += ",\"args\":{";
  const char* between = "";
  for (const auto& [name, value] : arguments) {
    fmt::format_to(std::back_inserter(text_), "{}\"{}\":{}", between, name, value);
    between = ",";
  }
  text_ += "}}";
}

void ChromeWriter::slice(const TraceSlice& slice) {
  const std::int64_t thread = thread_of(slice.lane);
  const std::int64_t begin = ns_of_(slice.begin);
  const std::int64_t end = std::max(begin, ns_of_(slice.end));
  begin_event();
  fmt::format_to(std::back_inserter(text_), R"({{"ph":"X","pid":{},"tid":{},"ts":{},"dur":{},"cat":"{}","name":{})",
                 pid_, thread, in_us(begin), in_us(end - begin), slice.category, quoted(slice.name));
  put_arguments(slice.arguments);
  for (const FlowPoint& point : slice.flows) flow(point, thread, begin);
}

void ChromeWriter::moment(const TraceMoment& moment) {
  const std::int64_t thread = thread_of(moment.lane);
  begin_event();
  fmt::format_to(std::back_inserter(text_), R"({{"ph":"i","s":"t","pid":{},"tid":{},"ts":{},"cat":"{}","name":{})",
                 pid_, thread, in_us(ns_of_(moment.time)), moment.category, quoted(moment.name));
  put_arguments(moment.arguments);
}

// At the begin of the slice it belongs to, behind it in the file.
void ChromeWriter::flow(const FlowPoint& point, std::int64_t thread, std::int64_t ns) {
  constexpr const char* phases[] = {"s", "t", "f"};
  begin_event();
  fmt::format_to(std::back_inserter(text_),
                 R"({{"ph":"{}","pid":{},"tid":{},"ts":{},"cat":"chunk","name":"chunk","id":"{:#x}"{}}})",
                 phases[static_cast<int>(point.kind)], pid_, thread, in_us(ns), point.id,
                 point.kind == FlowPoint::Kind::kBegin ? "" : ",\"bp\":\"e\"");
}

Result<> ChromeWriter::finish(std::string_view about) {
  fmt::format_to(std::back_inserter(text_), "\n],\"otherData\":{}}}\n", about);
  flush(0);
  return state_;
}

}  // namespace tutti
