// SPDX-License-Identifier: Apache-2.0
// When a whole run is started again.
#include <fmt/format.h>

#include <algorithm>
#include <csignal>

#include "common/checkpoint_file.h"
#include "launch/run_parent.h"

namespace tutti::launch {
namespace {

/// 1, 2, 4 s and so on.
std::chrono::seconds pause_before(int restart) {
  constexpr int kDoublingsMax = 6;
  return std::chrono::seconds(1 << std::min(restart - 1, kDoublingsMax));
}

/// From where the next try will go on, as far as this host can see.
std::string describe_start(const RunConfig& config) {
  DiskFileSystem disk;
  const auto found = config.checkpoint_dir.empty() ? Result<std::vector<std::string>>(std::vector<std::string>())
                                                   : list_checkpoints(disk, config.checkpoint_dir);
  return found && !found->empty() ? "from checkpoint " + found->front() : "from its start";
}

}  // namespace

bool is_worth_a_restart(int exit_code) noexcept {
  constexpr int kOurFirst = 64, kOurLast = 78;
  if (kOurFirst <= exit_code && exit_code <= kOurLast)
    return exit_code == tutti::exit_code(Errc::kPeerLost) || exit_code == tutti::exit_code(Errc::kInternal);
  const auto ended_by = [&](int signal) { return exit_code == 128 + signal; };
  return exit_code != 0 && !ended_by(SIGINT) && !ended_by(SIGTERM) && !ended_by(SIGHUP);
}

Result<int> run_with_restarts(const RunConfig& config, RunParent& parent,
                              const std::function<Result<RunParent::End>()>& once) {
  for (int restart = 1;; ++restart) {
    const auto end = once();
    if (!end) return end.error();
    if (end->asked || restart > config.restarts || !is_worth_a_restart(end->exit_code)) return end->exit_code;
    const auto pause = pause_before(restart);
    fmt::print(stderr, "tutti: the run ended with code {}; restart {} of {} in {} s, {}\n", end->exit_code, restart,
               config.restarts, pause.count(), describe_start(config));
    if (!parent.pause(pause)) return end->exit_code;
  }
}

}  // namespace tutti::launch
