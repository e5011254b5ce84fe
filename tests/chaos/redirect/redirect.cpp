// SPDX-License-Identifier: Apache-2.0
// Preloaded into the processes of a run under test: connections to 127.0.0.1 go through the test's proxy, which
// CHAOS_PROXY names (the path of a Unix socket). Where the proxy does not answer they go where they would have gone.
// And the wall clock can be made to jump, and the machine to go by the name that CHAOS_HOST gives.
//   asked: destination port u16, process id i32      answered: port u16 to connect to instead; 0: none
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "tests/chaos/redirect/redirect.h"

namespace {

std::atomic<std::int64_t> jumped_s = 0;

template <class Function>
Function next(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

using Connect = int (*)(int, const sockaddr*, socklen_t);

int system_connect(int fd, const sockaddr* address, socklen_t size) {
  static const auto system = next<Connect>("connect");
  return system(fd, address, size);
}

/// The port that stands for `port`, network byte order both; 0: there is no proxy.
std::uint16_t ask_proxy(const char* path, std::uint16_t port) {
  sockaddr_un proxy = {};
  proxy.sun_family = AF_UNIX;
  if (std::strlen(path) >= sizeof proxy.sun_path) return 0;
  std::strcpy(proxy.sun_path, path);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return 0;
  const tutti::testing::ProxyQuestion question{ntohs(port), getpid()};
  std::uint16_t answer = 0;
  const bool answered = system_connect(fd, reinterpret_cast<const sockaddr*>(&proxy), sizeof proxy) == 0 &&
                        send(fd, &question, sizeof question, MSG_NOSIGNAL) == sizeof question &&
                        recv(fd, &answer, sizeof answer, MSG_WAITALL) == sizeof answer;
  close(fd);
  return answered ? htons(answer) : std::uint16_t{0};
}

}  // namespace

extern "C" {

int connect(int fd, const sockaddr* address, socklen_t size) {
  const char* path = std::getenv("CHAOS_PROXY");
  sockaddr_in place = {};
  if (path == nullptr || size < sizeof place || address->sa_family != AF_INET) return system_connect(fd, address, size);
  std::memcpy(&place, address, sizeof place);
  if (place.sin_addr.s_addr != htonl(INADDR_LOOPBACK)) return system_connect(fd, address, size);
  const std::uint16_t port = ask_proxy(path, place.sin_port);
  if (port == 0) return system_connect(fd, address, size);
  place.sin_port = port;
  return system_connect(fd, reinterpret_cast<const sockaddr*>(&place), sizeof place);
}

int clock_gettime(clockid_t clock, timespec* time) {
  static const auto system = next<int (*)(clockid_t, timespec*)>("clock_gettime");
  const int result = system(clock, time);
  if (result == 0 && clock == CLOCK_REALTIME) time->tv_sec += jumped_s.load();
  return result;
}

int gethostname(char* name, size_t size) {
  static const auto system = next<int (*)(char*, size_t)>("gethostname");
  const char* const told = std::getenv("CHAOS_HOST");
  if (told == nullptr || std::strlen(told) >= size) return system(name, size);
  std::strcpy(name, told);
  return 0;
}

// What the program that is tormented calls, if it finds it.
void chaos_jump_wall_clock(std::int64_t seconds) {
  jumped_s += seconds;
}

}  // extern "C"
