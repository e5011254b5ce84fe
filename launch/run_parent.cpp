// SPDX-License-Identifier: Apache-2.0
#include "launch/run_parent.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "common/status_line.h"
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

int code_of(int status) {
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/// Reaps whoever has ended. True once `child` is among them, with its status.
bool reap(pid_t child, int& status) {
  bool found = false;
  int ended = 0;
  for (pid_t pid; (pid = waitpid(-1, &ended, WNOHANG)) > 0;) {
    if (pid != child) continue;
    found = true;
    status = ended;
  }
  return found;
}

void hand_on(pid_t child, const siginfo_t& asked, int times) {
  // A terminal interrupts its whole foreground group, the child among it; twice would cut its own ending short.
  if (asked.si_signo == SIGINT && asked.si_code == SI_KERNEL) return;
  if (asked.si_signo == SIGINT || times > 1)
    kill(child, asked.si_signo == SIGINT ? SIGINT : SIGTERM);
  else
    kill(child, SIGUSR1);
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

RunParent::RunParent() : watched_(watched_signals()) {
  sigprocmask(SIG_BLOCK, &watched_, &before_);
  prctl(PR_SET_CHILD_SUBREAPER, 1);
}

void RunParent::become(int death_signal, pid_t parent, const std::function<int()>& child) const {
  sigprocmask(SIG_SETMASK, &before_, nullptr);
  prctl(PR_SET_CHILD_SUBREAPER, 0);
  prctl(PR_SET_PDEATHSIG, death_signal);
  if (getppid() != parent) _exit(exit_code(Errc::kUnavailable));
  std::exit(child());
}

// What a child that was killed had started has become this process' own (it is their subreaper), and ends by itself.
void RunParent::wait_for_the_last() const {
  const auto deadline = steady_clock::now() + kLastOnesEnd;
  while (steady_clock::now() < deadline) {
    const pid_t pid = waitpid(-1, nullptr, WNOHANG);
    if (pid < 0 && errno == ECHILD) return;
    if (pid > 0) continue;
    // A signal that asks for the end stays pending: it is meant for whoever waits next.
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGCHLD);
    const timespec moment{0, 50'000'000};
    sigtimedwait(&ends, nullptr, &moment);
  }
}

Result<RunParent::End> RunParent::run(const char* name, int death_signal, const std::function<int()>& child) {
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) return fail_errno(std::string("cannot start ") + name, errno, Errc::kUnavailable);
  if (pid == 0) become(death_signal, parent, child);

  int status = 0;
  int times = 0;
  while (!reap(pid, status)) {
    siginfo_t asked{};
    if (sigwaitinfo(&watched_, &asked) > 0 && asked.si_signo != SIGCHLD) hand_on(pid, asked, ++times);
  }
  if (WIFSIGNALED(status)) {
    // It may have left its status there.
    fmt::print(stderr, "{}tutti: {} was killed by signal {} ({})\n", isatty(STDERR_FILENO) == 1 ? kEraseLine : "", name,
               WTERMSIG(status), strsignal(WTERMSIG(status)));
  }
  wait_for_the_last();
  remove_session_folder_of(pid);
  return End{code_of(status), times > 0};
}

Result<RunParent::End> RunParent::run_mpirun(const CommandLine& line, const Environment& environment) {
  return run("mpirun", SIGTERM, [&] {
    const Failure failed = exec_line(line, environment);
    fmt::print(stderr, "tutti: {}\n", failed.text());
    return exit_code(failed.code);
  });
}

Result<RunParent::End> RunParent::run_agent(const std::function<int(pid_t parent)>& agent) {
  return run("the agent", SIGKILL, [&, parent = getpid()] { return agent(parent); });
}

bool RunParent::pause(std::chrono::seconds time) const {
  const auto deadline = steady_clock::now() + time;
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::nanoseconds>(deadline - steady_clock::now());
    if (left.count() <= 0) return true;
    const timespec rest{left.count() / 1'000'000'000, left.count() % 1'000'000'000};
    const int signal = sigtimedwait(&watched_, nullptr, &rest);
    if (signal > 0 && signal != SIGCHLD) return false;
  }
}

}  // namespace tutti::launch
