// SPDX-License-Identifier: Apache-2.0
#include "launch/child_process.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

namespace tutti::launch {
namespace {

struct Pipe {
  FileDescriptor read, write;
};

Result<Pipe> make_pipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return fail_errno("no pipe for a child", errno, Errc::kUnavailable);
  return Pipe{FileDescriptor(ends[0]), FileDescriptor(ends[1])};
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (std::string& one : strings) out.push_back(one.data());
  out.push_back(nullptr);
  return out;
}

cpu_set_t core_set(const std::vector<int>& cores) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int core : cores) CPU_SET(core, &set);
  return set;
}

/// All that the child needs, made before the fork: between fork and exec nothing may allocate.
struct Prepared {
  explicit Prepared(const ChildSpec& spec) : arguments(spec.arguments), inherited(spec.inherited) {
    for (const auto& [name, value] : spec.environment) environment.push_back(name + "=" + value);
    argv = pointers(arguments);
    envp = pointers(environment);
    if (!spec.cores.empty()) cores = core_set(spec.cores);
    has_cores = !spec.cores.empty();
    guard = spec.guard;
  }
  std::vector<std::string> arguments, environment;
  std::vector<char*> argv, envp;
  std::vector<int> inherited;
  cpu_set_t cores;
  bool has_cores = false;
  int guard = -1;
  pid_t parent = getpid();
};

void restore_signals() {
  struct sigaction standard = {};
  standard.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; ++signal) sigaction(signal, &standard, nullptr);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

void tell_guard(const Prepared& prepared, pid_t word) {
  if (prepared.guard >= 0) (void)!write(prepared.guard, &word, sizeof word);
}

/// In the child; async-signal-safe calls only.
[[noreturn]] void become(const Prepared& prepared, int out, int err, int failure) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != prepared.parent) _exit(127);  // it died before the line above
  tell_guard(prepared, getpid());
  restore_signals();
  if (prepared.has_cores) sched_setaffinity(0, sizeof prepared.cores, &prepared.cores);
  const int null = open("/dev/null", O_RDONLY);
  dup2(null, STDIN_FILENO);
  dup2(out, STDOUT_FILENO);
  dup2(err, STDERR_FILENO);
  close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
  for (int fd : prepared.inherited) fcntl(fd, F_SETFD, 0);
  execve(prepared.argv[0], prepared.argv.data(), prepared.envp.data());
  const int error = errno;
  tell_guard(prepared, -getpid());
  (void)!write(failure, &error, sizeof error);
  _exit(127);
}

/// The errno of the child's exec, or 0: a successful exec closes the pipe without a word.
int exec_error(const FileDescriptor& failure) {
  int error = 0;
  ssize_t got = 0;
  do {
    got = read(failure.get(), &error, sizeof error);
  } while (got < 0 && errno == EINTR);
  return got == sizeof error ? error : 0;
}

}  // namespace

Result<ChildProcess> ChildProcess::start(const ChildSpec& spec) {
  auto out = make_pipe();
  auto err = make_pipe();
  auto failure = make_pipe();
  for (auto* one : {&out, &err, &failure}) {
    if (!*one) return one->error();
  }
  const Prepared prepared(spec);

  // No handler of ours may run in the child before it has its own.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t pid = fork();
  if (pid == 0) become(prepared, out->write.get(), err->write.get(), failure->write.get());
  const int fork_error = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) return fail_errno("cannot start " + spec.arguments[0], fork_error, Errc::kUnavailable);

  failure->write = FileDescriptor();
  if (const int error = exec_error(failure->read); error != 0) {
    waitpid(pid, nullptr, 0);
    return fail_errno("cannot execute " + spec.arguments[0], error, Errc::kUnavailable);
  }
  for (auto* pipe : {&*out, &*err}) fcntl(pipe->read.get(), F_SETFL, O_NONBLOCK);
  return ChildProcess(pid, std::move(out->read), std::move(err->read));
}

void ChildProcess::signal_group(int signal) const noexcept {
  kill(-pid_, signal);
}

std::optional<int> ChildProcess::reap() noexcept {
  siginfo_t info = {};
  if (waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid != pid_) return {};
  // While the leader is not reaped, nobody else can have its group's number.
  signal_group(SIGKILL);
  int status = 0;
  waitpid(pid_, &status, 0);
  return status;
}

Environment without_mpi(Environment environment) {
  std::erase_if(environment, [](const auto& variable) {
    const std::string& name = variable.first;
    return name.starts_with("OMPI_") || name.starts_with("PMIX_") || name.starts_with("PMI_");
  });
  return environment;
}

std::vector<int> widen_core_mask() {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int core = 0; core < CPU_SETSIZE; ++core) CPU_SET(core, &set);
  sched_setaffinity(0, sizeof set, &set);  // the kernel keeps what is allowed
  std::vector<int> cores;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &set)) cores.push_back(core);
  }
  return cores;
}

}  // namespace tutti::launch
