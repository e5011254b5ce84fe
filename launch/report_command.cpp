// SPDX-License-Identifier: Apache-2.0
#include "launch/report_command.h"

#include <fmt/core.h>

#include <boost/json.hpp>
#include <filesystem>
#include <string_view>

#include "common/assert.h"
#include "common/file.h"
#include "common/monitor/history.h"
#include "common/monitor/page.h"
#include "launch/complain.h"

namespace tutti::launch {
namespace {

namespace json = boost::json;

std::string name_of(const std::string& folder) {
  std::filesystem::path path = std::filesystem::absolute(folder).lexically_normal();
  return (path.has_filename() ? path.filename() : path.parent_path().filename()).string();
}

/// Within a page: what a run wrote does not end the script.
std::string without_tags(std::string_view text) {
  std::string safe;
  safe.reserve(text.size());
  for (const char c : text) {
    if (c == '<')
      safe += "\\u003c";
    else
      safe += c;
  }
  return safe;
}

}  // namespace

Result<std::string> report_page(const std::vector<std::string>& folders) {
  constexpr std::string_view kPlace = "/*{runs}*/";
  json::array runs;
  for (const std::string& folder : folders) {
    auto state = monitor::read_history(folder);
    if (!state) return std::move(state).error();
    runs.push_back({{"name", name_of(folder)}, {"states", json::array{std::move(*state)}}});
  }
  std::string page(monitor::kReport);
  const std::size_t place = page.find(kPlace);
  TUTTI_ASSERT(place != std::string::npos, "the report has a place for the runs");
  page.replace(place, kPlace.size(), without_tags(json::serialize(runs)));
  return page;
}

int execute(const ReportCommand& command) {
  const std::string out = command.out.empty() ? command.folders.front() + "/report.html" : command.out;
  const auto page = report_page(command.folders);
  const Result<> written = page ? replace_file(out, *page, 0644) : Result<>(page.error());
  if (!written) return complain(written.error());
  fmt::print("{}\n", out);
  return 0;
}

}  // namespace tutti::launch
