// SPDX-License-Identifier: Apache-2.0
#include "launch/orphan_guard.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

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

[[noreturn]] void stand_guard(int line, const LauncherEstate& estate) {
  // A session of its own: what is sent to the agent's group or terminal is not meant for the guard.
  setsid();
  prctl(PR_SET_NAME, "tutti-guard");
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
  close_all_but(line);

  std::set<pid_t> groups;
  while (true) {
    pid_t word = 0;
    const ssize_t got = read(line, &word, sizeof word);
    if (got < 0 && errno == EINTR) continue;
    if (got != sizeof word) break;
    if (word > 0) groups.insert(word);
    if (word < 0) groups.erase(-word);
  }
  for (pid_t group : groups) kill(-group, SIGKILL);
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

}  // namespace tutti::launch
