// SPDX-License-Identifier: Apache-2.0
// A trace as a viewer reads it: which slices lie on which thread of which process, and what the arrows connect.
// Thread safety: a value.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json.hpp>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace tutti::testing {

struct ShownSlice {
  std::string process, thread, category, name;
  double ts = 0, dur = 0;  ///< in microseconds
  boost::json::object arguments = {};

  std::int64_t argument(std::string_view key) const {
    const auto* value = arguments.if_contains(key);
    return value == nullptr ? -1 : value->to_number<std::int64_t>();
  }
  double end() const { return ts + dur; }
};

/// By its id.
struct ShownFlow {
  std::vector<std::string> begins, steps, ends;  ///< the processes
};

class TraceDocument {
 public:
  static TraceDocument parse(const std::string& text) { return TraceDocument(boost::json::parse(text).as_object()); }
  static TraceDocument of(const std::string& path) {
    std::ifstream file(path);
    EXPECT_TRUE(file.good()) << path;
    return parse(std::string{std::istreambuf_iterator<char>(file), {}});
  }

  const std::vector<std::string>& processes() const { return processes_; }
  const std::vector<ShownSlice>& slices() const { return slices_; }
  /// Of those whose process begins with `process`, of one category.
  std::vector<ShownSlice> slices(const std::string& process, const std::string& category) const {
    return those(slices_, process, category);
  }
  std::vector<ShownSlice> moments(const std::string& process, const std::string& category) const {
    return those(moments_, process, category);
  }
  std::set<std::string> categories(const std::string& process) const {
    std::set<std::string> found;
    for (const ShownSlice& slice : slices_) {
      if (slice.process.starts_with(process)) found.insert(slice.category);
    }
    return found;
  }
  const std::map<std::string, ShownFlow>& flows() const { return flows_; }
  const boost::json::object& about() const { return about_; }

 private:
  explicit TraceDocument(const boost::json::object& document) : about_(document.at("otherData").as_object()) {
    const boost::json::array& events = document.at("traceEvents").as_array();
    for (const boost::json::value& event : events) name(event.as_object());
    for (const boost::json::value& event : events) take(event.as_object());
  }

  static std::vector<ShownSlice> those(const std::vector<ShownSlice>& all, const std::string& process,
                                       const std::string& category) {
    std::vector<ShownSlice> found;
    std::ranges::copy_if(all, std::back_inserter(found), [&](const ShownSlice& slice) {
      return slice.process.starts_with(process) && slice.category == category;
    });
    return found;
  }

  void name(const boost::json::object& event) {
    if (event.at("ph").as_string() != "M") return;
    const auto& what = event.at("name").as_string();
    const boost::json::object& arguments = event.at("args").as_object();
    if (what == "process_name") {
      process_names_[event.at("pid").as_int64()] = arguments.at("name").as_string();
      processes_.emplace_back(arguments.at("name").as_string());
    }
    if (what == "thread_name") thread_names_[event.at("tid").as_int64()] = arguments.at("name").as_string();
  }

  void take(const boost::json::object& event) {
    const std::string phase(event.at("ph").as_string());
    if (phase == "M") return;
    const std::string& process = process_names_.at(event.at("pid").as_int64());
    if (phase == "X" || phase == "i") {
      ShownSlice slice{process, thread_names_.at(event.at("tid").as_int64()), std::string(event.at("cat").as_string()),
                       std::string(event.at("name").as_string()), event.at("ts").to_number<double>()};
      if (phase == "X") slice.dur = event.at("dur").to_number<double>();
      slice.arguments = event.at("args").as_object();
      (phase == "X" ? slices_ : moments_).push_back(std::move(slice));
      return;
    }
    ShownFlow& flow = flows_[std::string(event.at("id").as_string())];
    (phase == "s" ? flow.begins : phase == "t" ? flow.steps : flow.ends).push_back(process);
  }

  boost::json::object about_;
  std::map<std::int64_t, std::string> process_names_, thread_names_;
  std::vector<std::string> processes_;
  std::vector<ShownSlice> slices_, moments_;
  std::map<std::string, ShownFlow> flows_;
};

/// Slices of one thread lie side by side or within each other.
inline void expect_nested(const TraceDocument& trace) {
  constexpr double kRounding = 0.0015;  // of numbers that were written with three digits
  std::map<std::string, std::vector<ShownSlice>> threads;
  for (const ShownSlice& slice : trace.slices()) threads[slice.process + "/" + slice.thread].push_back(slice);
  for (auto& [thread, slices] : threads) {
    std::ranges::stable_sort(slices, [](const ShownSlice& a, const ShownSlice& b) {
      return a.ts < b.ts || (a.ts == b.ts && a.dur > b.dur);
    });
    std::vector<double> around;
    for (const ShownSlice& slice : slices) {
      while (!around.empty() && around.back() <= slice.ts + kRounding) around.pop_back();
      const double limit = around.empty() ? slice.end() : around.back();
      EXPECT_LE(slice.end(), limit + kRounding) << thread << ": " << slice.name;
      around.push_back(slice.end());
    }
  }
}

}  // namespace tutti::testing
