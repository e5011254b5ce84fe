// SPDX-License-Identifier: Apache-2.0
#include "launch/status_command.h"

#include <fmt/core.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <thread>
#include <utility>

#include "common/file.h"
#include "common/monitor/history.h"
#include "common/monitor/http_client.h"
#include "common/monitor/monitor.h"
#include "common/monitor/state_table.h"
#include "common/status_line.h"
#include "launch/complain.h"

namespace tutti::launch {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using namespace std::chrono_literals;

constexpr auto kAnswerPatience = 5s;
constexpr auto kBetweenLooks = 1s;
constexpr std::size_t kEvents = 8;
constexpr std::size_t kAddressBytesMax = 4096;

bool is_run(const fs::path& folder) {
  std::error_code ignored;
  return fs::exists(folder / monitor::kHistoryFile, ignored);
}

/// Of the run's page; empty where it has none any more.
std::string address_in(const std::string& folder) {
  const auto text = read_file(folder + "/" + monitor::kAddressFile, kAddressBytesMax);
  if (!text) return "";
  boost::system::error_code error;
  const json::value value = json::parse(*text, error);
  const json::value* url = !error && value.is_object() ? value.as_object().if_contains("url") : nullptr;
  return url != nullptr && url->is_string() ? std::string(url->as_string()) : "";
}

/// A run's folder bears its name.
std::string job_of(const std::string& folder) {
  std::error_code ignored;
  const fs::path path = fs::weakly_canonical(folder, ignored);  // what a link leads to
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

Result<json::object> ask(const std::string& url) {
  const auto text = monitor::http_get(url, "/state.json", kAnswerPatience);
  if (!text) return text.error();
  return monitor::parse_state(*text, url);
}

/// A run whose address is there and does not answer was cut off; or another answers there by now.
Result<json::object> look(const std::string& folder) {
  const std::string url = address_in(folder);
  if (!url.empty()) {
    auto state = ask(url);
    if (state && (*state)["job"].as_string() == job_of(folder)) return state;
  }
  auto state = monitor::read_history(folder);
  if (state && (*state)["phase"] != "ended") {
    (*state)["phase"] = "cut off";
    for (json::value& member : (*state)["members"].as_array()) member.as_object()["alive"] = false;
  }
  return state;
}

bool is_over(const json::object& state) {
  const json::value& phase = state.at("phase");
  return phase == "ended" || phase == "cut off";
}

}  // namespace

Result<std::string> find_run(const std::string& job, const std::string& log_dir) {
  if (!job.empty()) {
    for (const fs::path& folder : {fs::path(job), fs::path(log_dir) / job}) {
      if (is_run(folder)) return folder.string();
    }
    return fail(Errc::kUsage, "there is no run in " + job + ", nor in " + log_dir + "/" + job);
  }
  std::error_code error;
  fs::path newest;
  fs::file_time_type newest_time{};
  for (const fs::directory_entry& entry : fs::directory_iterator(log_dir, error)) {
    if (!is_run(entry.path())) continue;
    const auto time = fs::last_write_time(entry.path() / monitor::kHistoryFile, error);
    if (newest.empty() || time > newest_time) {
      newest = entry.path();
      newest_time = time;
    }
  }
  if (newest.empty()) return fail(Errc::kUsage, "there is no run in " + log_dir + ": name one, or another --log-dir");
  return newest.string();
}

int execute(const StatusCommand& command, const Environment& environment) {
  std::signal(SIGPIPE, SIG_DFL);  // whoever reads the table may have seen enough
  const bool is_address = command.job.starts_with("http://");
  const auto folder = is_address ? Result<std::string>(command.job) : find_run(command.job, command.log_dir);
  if (!folder) return complain(folder.error());
  const bool redraws = is_terminal(STDOUT_FILENO, environment);
  while (true) {
    const auto state = is_address ? ask(command.job) : look(*folder);
    if (!state) return complain(state.error());
    const int columns = redraws ? columns_of(STDOUT_FILENO, environment) : 1000;
    const char* const clear = command.watch && redraws ? "\x1b[H\x1b[2J" : "";
    fmt::print("{}{}", clear, monitor::state_table(*state, kEvents, columns));
    std::fflush(stdout);
    if (!command.watch || is_over(*state)) return 0;
    if (!redraws) fmt::print("\n");
    std::this_thread::sleep_for(kBetweenLooks);
  }
}

}  // namespace tutti::launch
