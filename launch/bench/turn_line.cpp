// SPDX-License-Identifier: Apache-2.0
#include "launch/bench/turn_line.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace tutti::bench {
namespace {

std::string path_of(const std::string& folder, bool to_first) {
  return folder + (to_first ? "/to-first" : "/to-second");
}

// For reading and writing: neither end waits for the other to open.
Result<FileDescriptor> open_pipe(const std::string& path) {
  FileDescriptor pipe(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!pipe) return fail_errno("cannot open " + path, errno, Errc::kIo);
  return pipe;
}

}  // namespace

Result<> TurnLine::make(const std::string& folder) {
  for (const bool to_first : {true, false}) {
    const std::string path = path_of(folder, to_first);
    if (::mkfifo(path.c_str(), 0600) != 0) return fail_errno("cannot make " + path, errno, Errc::kIo);
  }
  return {};
}

Result<TurnLine> TurnLine::open(const std::string& folder, bool first) {
  auto in = open_pipe(path_of(folder, first)), out = open_pipe(path_of(folder, !first));
  if (!in) return in.error();
  if (!out) return out.error();
  return TurnLine(std::move(*in), std::move(*out));
}

Result<> TurnLine::await(std::chrono::seconds patience) {
  std::byte token{};
  return hear(std::span(&token, 1), patience);
}

Result<> TurnLine::tell(std::span<const std::byte> bytes) {
  return write_all(out_.get(), bytes, "the pipe to the other run");
}

Result<> TurnLine::hear(std::span<std::byte> bytes, std::chrono::seconds patience) {
  while (!bytes.empty()) {
    pollfd readable{in_.get(), POLLIN, 0};
    const int ready = ::poll(&readable, 1, static_cast<int>(std::chrono::milliseconds(patience).count()));
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) return fail(Errc::kTimeout, "the other run of the bench is silent");
    const ssize_t got = ready < 0 ? -1 : ::read(in_.get(), bytes.data(), bytes.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno("cannot read from the other run", errno, Errc::kIo);
    bytes = bytes.subspan(static_cast<std::size_t>(got));
  }
  return {};
}

}  // namespace tutti::bench
