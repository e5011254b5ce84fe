// SPDX-License-Identifier: Apache-2.0
#include "tests/support/leftovers.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>

namespace tutti::testing {
namespace {

namespace fs = std::filesystem;

/// Of a process that ends while its file is read, what there was: an iterator over the file would throw.
std::string content_of(const fs::path& path) {
  std::ostringstream content;
  content << std::ifstream(path, std::ios::binary).rdbuf();
  return content.str();
}

/// /proc shows lists with a zero byte after each entry.
bool has_entry(const std::string& list, const std::string& entry) {
  const std::string ended = entry + '\0';
  return list.starts_with(ended) || list.find('\0' + ended) != std::string::npos;
}

bool has_ended(const fs::path& process) {
  const std::string stat = content_of(process / "stat");
  const auto name_end = stat.rfind(')');
  return name_end == std::string::npos || stat.size() < name_end + 3 || stat[name_end + 2] == 'Z';
}

/// "0100007F:1388" is 127.0.0.1:5000.
std::string address_of(const std::string& text) {
  const auto address = std::stoul(text.substr(0, 8), nullptr, 16);
  const auto port = std::stoul(text.substr(9), nullptr, 16);
  return fmt::format("{}.{}.{}.{}:{}", address & 255, address >> 8 & 255, address >> 16 & 255, address >> 24, port);
}

/// inode of each listening TCP socket of this host -> its address
std::map<std::string, std::string> listening_sockets() {
  std::map<std::string, std::string> sockets;
  std::istringstream lines(content_of("/proc/net/tcp"));
  std::string line;
  std::getline(lines, line);
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    std::vector<std::string> word{std::istream_iterator<std::string>(words), {}};
    constexpr const char* kListen = "0A";
    if (word.size() > 9 && word[3] == kListen) sockets[word[9]] = address_of(word[1]);
  }
  return sockets;
}

}  // namespace

bool has_variable(pid_t pid, const std::string& name, const std::string& value) {
  return has_entry(content_of("/proc/" + std::to_string(pid) + "/environ"), name + "=" + value);
}

std::vector<MarkedProcess> marked_processes(const std::string& mark) {
  std::vector<MarkedProcess> found;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator("/proc", ignored)) {
    const std::string name = entry.path().filename().string();
    if (!std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isdigit(c) != 0; })) continue;
    const auto pid = static_cast<pid_t>(std::stol(name));
    if (!has_variable(pid, kRunMark, mark) || has_ended(entry.path())) continue;
    std::string command = content_of(entry.path() / "cmdline");
    std::replace(command.begin(), command.end(), '\0', ' ');
    found.push_back({pid, command});
  }
  return found;
}

std::set<std::string> shared_memory() {
  std::set<std::string> names;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator("/dev/shm", ignored)) names.insert(entry.path().filename().string());
  return names;
}

std::set<std::string> listening_of(const std::vector<MarkedProcess>& processes) {
  const auto sockets = listening_sockets();
  std::set<std::string> addresses;
  for (const MarkedProcess& process : processes) {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator("/proc/" + std::to_string(process.pid) + "/fd", ignored)) {
      const std::string target = fs::read_symlink(entry.path(), ignored).string();  // "socket:[12345]"
      if (!target.starts_with("socket:[")) continue;
      const auto socket = sockets.find(target.substr(8, target.size() - 9));
      if (socket != sockets.end()) addresses.insert(socket->second);
    }
  }
  return addresses;
}

}  // namespace tutti::testing
