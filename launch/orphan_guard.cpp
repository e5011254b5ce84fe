// SPDX-License-Identifier: Apache-2.0
#include "launch/orphan_guard.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <set>
#include <span>

#include "common/trace/merge.h"

namespace tutti::launch {
namespace {

void close_all_but(int kept) {
  close_range(0, static_cast<unsigned>(kept) - 1, 0);
  close_range(static_cast<unsigned>(kept) + 1, ~0U, 0);
}

/// A process that only waits to be reaped is dead.
bool is_dead(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  const std::string stat{std::istreambuf_iterator<char>(file), {}};
  return stat.empty() || stat.find(") Z ") != std::string::npos;
}

// Stands before a length and the trace's path, which a process group's number never is.
constexpr pid_t kTraceWord = std::numeric_limits<pid_t>::min();
constexpr auto kDyingTime = std::chrono::seconds(2);

bool read_word(int line, pid_t& word) {
  ssize_t got = -1;
  do got = read(line, &word, sizeof word);
  while (got < 0 && errno == EINTR);
  return got == sizeof word;
}

/// Empty: none is left to be made.
std::string read_trace(int line) {
  pid_t length = 0;
  if (!read_word(line, length) || length <= 0 || length > PIPE_BUF) return "";
  std::string trace(static_cast<std::size_t>(length), '\0');
  return read_exactly(line, std::as_writable_bytes(std::span(trace)), "the guard's line") ? trace : "";
}

void await_deaths(const std::set<pid_t>& leaders) {
  const auto give_up = std::chrono::steady_clock::now() + kDyingTime;
  while (!std::ranges::all_of(leaders, is_dead) && std::chrono::steady_clock::now() < give_up) usleep(1000);
}

[[noreturn]] void stand_guard(int line, const LauncherEstate& estate) {
  // A session of its own: what is sent to the agent's group or terminal is not meant for the guard.
  setsid();
  prctl(PR_SET_NAME, "tutti-guard");
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
  close_all_but(line);

  std::set<pid_t> groups;
  std::string trace;
  for (pid_t word = 0; read_word(line, word);) {
    if (word > 0) groups.insert(word);
    if (word == kTraceWord)
      trace = read_trace(line);
    else if (word < 0)
      groups.erase(-word);
  }
  for (pid_t group : groups) kill(-group, SIGKILL);
  if (!trace.empty()) {
    await_deaths(groups);
    [[maybe_unused]] const auto nobody_left_to_tell = finish_trace(trace);
  }
  if (!estate.folder.empty() && is_dead(estate.launcher)) remove_session_folder(estate.folder);
  _exit(0);
}

}  // namespace

void remove_session_folder(const std::string& folder) {
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
  std::filesystem::remove(std::filesystem::path(folder).parent_path(), ignored);
}

LauncherEstate estate_of_mpirun(const Environment& environment) {
  const auto folder = environment.find("OMPI_MCA_orte_jobfam_session_dir");
  if (folder == environment.end() || !folder->second.ends_with("/pid." + std::to_string(getppid()))) return {};
  return {getppid(), folder->second};
}

Result<OrphanGuard> OrphanGuard::start(const LauncherEstate& estate) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return fail_errno("no pipe for the guard", errno, Errc::kUnavailable);
  FileDescriptor read_end(ends[0]), write_end(ends[1]);
  const pid_t pid = fork();
  if (pid < 0) return fail_errno("cannot start the guard", errno, Errc::kUnavailable);
  if (pid == 0) stand_guard(read_end.get(), estate);
  return OrphanGuard(std::move(write_end), pid);
}

OrphanGuard::~OrphanGuard() {
  line_ = FileDescriptor();
  if (pid_ > 0) waitpid(pid_, nullptr, 0);
}

void OrphanGuard::forget(pid_t group) noexcept {
  const pid_t word = -group;
  (void)!write(line_.get(), &word, sizeof word);
}

void OrphanGuard::keep_trace(const std::string& trace) noexcept {
  const auto length = static_cast<pid_t>(trace.size());
  std::string words(reinterpret_cast<const char*>(&kTraceWord), sizeof kTraceWord);
  words.append(reinterpret_cast<const char*>(&length), sizeof length).append(trace);
  if (words.size() <= PIPE_BUF) (void)!write(line_.get(), words.data(), words.size());  // in one piece
}

}  // namespace tutti::launch
