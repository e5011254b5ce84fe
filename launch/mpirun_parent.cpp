// SPDX-License-Identifier: Apache-2.0
#include "launch/mpirun_parent.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>

#include "launch/orphan_guard.h"

namespace tutti::launch {
namespace {

using std::chrono::steady_clock;
constexpr std::chrono::seconds kLastOnesEnd{3};  // agents of a dead mpirun notice it within a fraction of this

sigset_t watched_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGCHLD, SIGTERM, SIGHUP, SIGUSR1, SIGINT}) sigaddset(&set, signal);
  return set;
}

[[noreturn]] void become(const CommandLine& line, const Environment& environment, pid_t parent, const sigset_t& mask) {
  sigprocmask(SIG_SETMASK, &mask, nullptr);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(exit_code(Errc::kUnavailable));
  fmt::print(stderr, "tutti: {}\n", exec_line(line, environment).text());
  _exit(exit_code(Errc::kUnavailable));
}

int code_of(int status) {
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/// Reaps whoever has ended. True once mpirun is among them, with its status.
bool reap(pid_t mpirun, int& status) {
  bool found = false;
  int ended = 0;
  for (pid_t pid; (pid = waitpid(-1, &ended, WNOHANG)) > 0;) {
    if (pid != mpirun) continue;
    found = true;
    status = ended;
  }
  return found;
}

void hand_on(pid_t mpirun, const siginfo_t& asked, int times) {
  // A terminal interrupts its whole foreground group, mpirun among it; twice would cut its own ending short.
  if (asked.si_signo == SIGINT && asked.si_code == SI_KERNEL) return;
  if (asked.si_signo == SIGINT || times > 1)
    kill(mpirun, asked.si_signo == SIGINT ? SIGINT : SIGTERM);
  else
    kill(mpirun, SIGUSR1);
}

/// Agents whose mpirun was killed have become this process' children (it is their subreaper).
void wait_for_the_last(const sigset_t& set) {
  const auto deadline = steady_clock::now() + kLastOnesEnd;
  while (steady_clock::now() < deadline) {
    const pid_t pid = waitpid(-1, nullptr, WNOHANG);
    if (pid < 0 && errno == ECHILD) return;
    if (pid > 0) continue;
    const timespec moment{0, 50'000'000};
    sigtimedwait(&set, nullptr, &moment);
  }
}

/// OpenMPI's folder for this mpirun, which one that was killed leaves behind.
void remove_session_folder_of(pid_t mpirun) {
  std::error_code ignored;
  const std::filesystem::path temporary = std::filesystem::temp_directory_path(ignored);
  for (const auto& entry : std::filesystem::directory_iterator(temporary, ignored)) {
    if (!entry.path().filename().string().starts_with("ompi.")) continue;
    remove_session_folder(entry.path() / ("pid." + std::to_string(mpirun)));
  }
}

}  // namespace

Result<int> run_mpirun(const CommandLine& line, const Environment& environment) {
  const sigset_t set = watched_signals();
  sigset_t before;
  sigprocmask(SIG_BLOCK, &set, &before);
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  const pid_t parent = getpid();
  const pid_t mpirun = fork();
  if (mpirun < 0) return fail_errno("cannot start mpirun", errno, Errc::kUnavailable);
  if (mpirun == 0) become(line, environment, parent, before);

  int status = 0;
  for (int times = 0; !reap(mpirun, status);) {
    siginfo_t asked{};
    if (sigwaitinfo(&set, &asked) > 0 && asked.si_signo != SIGCHLD) hand_on(mpirun, asked, ++times);
  }
  if (WIFSIGNALED(status))
    fmt::print(stderr, "tutti: mpirun was killed by signal {} ({})\n", WTERMSIG(status), strsignal(WTERMSIG(status)));
  wait_for_the_last(set);
  remove_session_folder_of(mpirun);
  return code_of(status);
}

}  // namespace tutti::launch
