// SPDX-License-Identifier: Apache-2.0
#include "launch/probe.h"

#include <dlfcn.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "launch/child_process.h"

namespace tutti::launch {
namespace {

constexpr int kPatienceMs = 10'000;
constexpr std::size_t kTextBytesMax = 64 << 10;

/// All that comes until the end of file, or what had come when patience ended.
std::string read_patiently(int fd) {
  std::string text;
  char buffer[4096];
  pollfd waited{fd, POLLIN, 0};
  while (text.size() < kTextBytesMax && poll(&waited, 1, kPatienceMs) > 0) {
    const ssize_t got = read(fd, buffer, sizeof buffer);
    if (got <= 0) break;
    text.append(buffer, static_cast<std::size_t>(got));
  }
  return text;
}

}  // namespace

std::string first_line_of(const std::vector<std::string>& arguments, const Environment& environment) {
  ChildSpec spec;
  spec.arguments = arguments;
  spec.environment = environment;
  auto child = ChildProcess::start(spec);
  if (!child) return {};
  const FileDescriptor out = child->take_stdout();
  const std::string text = read_patiently(out.get());
  child->signal_group(SIGKILL);
  waitpid(child->pid(), nullptr, 0);
  return text.substr(0, text.find('\n'));
}

bool can_load(const std::string& library) {
  const pid_t pid = fork();
  if (pid == 0) _exit(dlopen(library.c_str(), RTLD_LAZY | RTLD_LOCAL) != nullptr ? 0 : 1);
  int status = -1;
  if (pid > 0) waitpid(pid, &status, 0);
  return status == 0;
}

std::string first_line(const std::string& path) {
  std::string line;
  std::ifstream file(path);
  std::getline(file, line);
  return line;
}

}  // namespace tutti::launch
