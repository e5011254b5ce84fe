// SPDX-License-Identifier: Apache-2.0
#include "common/stack_file.h"

#include <execinfo.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <fstream>

namespace tutti {
namespace {

constexpr int kFramesMax = 128;

// A handler has no argument, so what it needs stands here.
std::atomic<int> stack_file = -1;

// Neither of the two calls allocates once the first backtrace() has loaded what it needs.
void write_stack(int) {
  const int before = errno;
  std::array<void*, kFramesMax> frames;
  const int count = ::backtrace(frames.data(), kFramesMax);
  ::backtrace_symbols_fd(frames.data(), count, stack_file);
  errno = before;
}

}  // namespace

std::string stack_path(std::string recording_path) {
  const std::size_t dot = recording_path.rfind(".rec");
  return recording_path.substr(0, dot) + ".stack";
}

Result<> write_stack_when_asked(const std::string& path) {
  struct sigaction present = {};
  if (sigaction(kStackSignal, nullptr, &present) != 0 || present.sa_handler != SIG_DFL) return {};
  const int fd = ::open(path.c_str(), O_CREAT | O_TRUNC | O_APPEND | O_WRONLY | O_CLOEXEC, 0644);
  if (fd < 0) return fail_errno("cannot open " + path, errno);
  std::array<void*, 1> frame;
  ::backtrace(frame.data(), 1);
  stack_file = fd;
  struct sigaction action = {};
  action.sa_handler = write_stack;
  action.sa_flags = SA_RESTART;
  if (sigaction(kStackSignal, &action, nullptr) != 0) return fail_errno("cannot handle a signal", errno);
  return {};
}

void discard_stack_file(const std::string& path) noexcept {
  ::unlink(path.c_str());
}

bool catches(int pid, int signal) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with("SigCgt:")) continue;
    const unsigned long long caught = std::stoull(line.substr(7), nullptr, 16);
    return (caught >> (signal - 1) & 1) != 0;
  }
  return false;
}

}  // namespace tutti
