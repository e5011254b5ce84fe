// SPDX-License-Identifier: Apache-2.0
#include "launch/guards_command.h"

#include <fmt/core.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "launch/bench/report.h"
#include "launch/bench/turn_line.h"
#include "launch/complain.h"

namespace tutti::launch {
namespace {

/// What is measured unless the user asks for one.
constexpr std::array<std::pair<const char*, const char*>, 4> kWays{
    {{"shm", "auto"}, {"ps", "auto"}, {"ps", "tcp"}, {"shm+ps", "auto"}}};

/// A folder that goes with its owner.
class OwnFolder {
 public:
  OwnFolder() : path_((std::filesystem::temp_directory_path() / "tutti-guards-XXXXXX").string()) {
    if (::mkdtemp(path_.data()) == nullptr) path_.clear();
  }
  ~OwnFolder() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  OwnFolder(const OwnFolder&) = delete;
  OwnFolder& operator=(const OwnFolder&) = delete;
  /// Empty: it could not be made.
  const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
};

pid_t start(const BenchCommand& command, const std::function<int(const BenchCommand&)>& execute) {
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child != 0) return child;
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) ::_exit(exit_code(Errc::kUnavailable));
  std::exit(execute(command));
}

int code_of_side(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/// One that fails ends the other, which would wait for its turn.
int run_pair(const std::array<BenchCommand, 2>& pair, const std::function<int(const BenchCommand&)>& execute) {
  std::array<pid_t, 2> left{};
  for (std::size_t side = 0; side < 2; ++side) left[side] = start(pair[side], execute);
  int code = 0;
  while (std::ranges::any_of(left, [](pid_t pid) { return pid > 0; })) {
    int status = 0;
    const pid_t ended = ::waitpid(-1, &status, 0);
    if (ended < 0 && errno == EINTR) continue;
    if (ended < 0) break;
    const auto one = std::ranges::find(left, ended);
    if (one == left.end()) continue;
    *one = 0;
    if (code == 0) code = code_of_side(status);
    for (const pid_t other : left) {
      if (code != 0 && other > 0) ::kill(other, SIGTERM);
    }
  }
  return code;
}

}  // namespace

std::vector<std::array<BenchCommand, 2>> guards_pairs(const BenchCommand& command, const std::string& folder) {
  std::vector<std::pair<std::string, std::string>> ways;
  if (command.exchange.empty())
    ways.assign(kWays.begin(), kWays.end());
  else
    ways.emplace_back(command.exchange, command.options.transport);

  std::vector<std::array<BenchCommand, 2>> pairs;
  for (const auto& [exchange, transport] : ways) {
    BenchCommand guarded = command;
    guarded.exchange = exchange;
    guarded.options.transport = transport;
    guarded.options.turns = fmt::format("{}/{}", folder, pairs.size());
    const bool is_watching = command.options.bench == "watching";
    guarded.options.side = is_watching ? "watched" : "guarded";
    const std::string checkpoints = "checkpoint_dir=" + guarded.options.turns + "/checkpoints";
    guarded.overrides.insert(guarded.overrides.begin(), checkpoints);
    BenchCommand bare = guarded;
    bare.options.side = is_watching ? "unwatched" : "bare";
    pairs.push_back({std::move(guarded), std::move(bare)});
  }
  return pairs;
}

int execute_guards(const BenchCommand& command, const std::function<int(const BenchCommand&)>& execute) {
  const OwnFolder folder;
  if (folder.path().empty()) {
    fmt::print(stderr, "tutti: no folder can be made among the temporary files\n");
    return exit_code(Errc::kIo);
  }
  if (!command.options.json) fmt::print("{}", bench::guards_head());
  for (const auto& pair : guards_pairs(command, folder.path())) {
    std::fflush(stdout);  // the children have a copy of what is left in it
    const std::string& turns = pair.front().options.turns;
    std::error_code error;
    std::filesystem::create_directory(turns, error);
    const auto made = bench::TurnLine::make(turns);
    if (!made) return complain(made.error());
    if (const int code = run_pair(pair, execute); code != 0) return code;
  }
  return 0;
}

}  // namespace tutti::launch
