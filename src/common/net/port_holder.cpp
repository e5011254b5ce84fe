// SPDX-License-Identifier: Apache-2.0
#include "common/net/port_holder.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

namespace tutti {
namespace {

namespace fs = std::filesystem;

// A line of /proc/net/tcp: number, local address:port and remote one in hexadecimal, state (0A: listening), three
// fields on queues and timers, user, timeout, inode.
void collect_listening_inodes(const std::string& table, std::uint16_t port, std::set<std::string>& inodes) {
  std::ifstream file(table);
  std::string line;
  std::getline(file, line);  // the headings
  while (std::getline(file, line)) {
    std::istringstream fields(line);
    std::string number, local, remote, state, queues, timer, retransmits, user, timeout, inode;
    fields >> number >> local >> remote >> state >> queues >> timer >> retransmits >> user >> timeout >> inode;
    const auto colon = local.rfind(':');
    if (state != "0A" || colon == std::string::npos) continue;
    if (std::strtoul(local.c_str() + colon + 1, nullptr, 16) == port) inodes.insert("socket:[" + inode + "]");
  }
}

bool has_open(const fs::path& process, const std::set<std::string>& sockets) {
  std::error_code error;
  for (fs::directory_iterator entry(process / "fd", error), end; !error && entry != end; entry.increment(error)) {
    std::error_code unreadable;
    if (sockets.contains(fs::read_symlink(entry->path(), unreadable).string())) return true;
  }
  return false;
}

bool is_number(const std::string& text) {
  return std::ranges::all_of(text, [](unsigned char c) { return std::isdigit(c) != 0; });
}

}  // namespace

std::optional<std::string> holder_of_port(std::uint16_t port) {
  std::set<std::string> sockets;
  collect_listening_inodes("/proc/net/tcp", port, sockets);
  collect_listening_inodes("/proc/net/tcp6", port, sockets);
  if (sockets.empty()) return std::nullopt;

  std::error_code error;
  for (fs::directory_iterator entry("/proc", error), end; !error && entry != end; entry.increment(error)) {
    const std::string process = entry->path().filename();
    if (!is_number(process) || !has_open(entry->path(), sockets)) continue;
    std::string name = "?";
    std::ifstream(entry->path() / "comm") >> name;
    return "process " + process + " (" + name + ")";
  }
  return std::nullopt;
}

}  // namespace tutti
