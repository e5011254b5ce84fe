// SPDX-License-Identifier: Apache-2.0
#include "common/net/interfaces.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>

namespace tutti {
namespace {

int speed_of(const std::string& interface) {
  int megabits = 0;
  std::ifstream("/sys/class/net/" + interface + "/speed") >> megabits;  // -1 or unreadable where there is none
  return std::max(megabits, 0);
}

std::string names_of(const std::vector<Interface>& present) {
  std::string names;
  for (const Interface& one : present) names += (names.empty() ? "" : ", ") + one.name + " (" + one.address + ")";
  return names;
}

}  // namespace

std::vector<Interface> interfaces() {
  std::vector<Interface> found;
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return found;
  for (const ifaddrs* one = list; one != nullptr; one = one->ifa_next) {
    if (one->ifa_addr == nullptr || one->ifa_addr->sa_family != AF_INET || (one->ifa_flags & IFF_UP) == 0) continue;
    char text[INET_ADDRSTRLEN] = {};
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(one->ifa_addr)->sin_addr, text, sizeof text);
    found.push_back({one->ifa_name, text, (one->ifa_flags & IFF_LOOPBACK) != 0, speed_of(one->ifa_name)});
  }
  freeifaddrs(list);
  return found;
}

std::string host_name() {
  char name[256] = {};
  gethostname(name, sizeof name - 1);
  return name;
}

std::string default_route_interface(std::string_view route_table) {
  std::istringstream lines{std::string(route_table)};
  std::string line, interface, destination;
  std::getline(lines, line);  // the heading
  while (std::getline(lines, line)) {
    if (std::istringstream(line) >> interface >> destination && destination == "00000000") return interface;
  }
  return {};
}

Result<std::string> choose_address(const std::vector<Interface>& present, const std::string& wanted, bool one_host,
                                   const std::string& default_interface) {
  if (wanted.empty() && one_host) return std::string("127.0.0.1");
  const auto find = [&](auto matches) {
    const auto found = std::find_if(present.begin(), present.end(), matches);
    return found == present.end() ? std::string() : found->address;
  };
  std::string address;
  if (!wanted.empty()) {
    address = find([&](const Interface& one) { return one.name == wanted || one.address == wanted; });
  } else {
    address = find([&](const Interface& one) { return one.name == default_interface; });
    if (address.empty()) address = find([](const Interface& one) { return !one.loopback; });
  }
  if (!address.empty()) return address;
  return fail(Errc::kUnavailable,
              (wanted.empty() ? "no interface but loopback is up" : "no interface '" + wanted + "'") + " on " +
                  host_name() + "; it has " + names_of(present));
}

Result<std::string> own_address(const std::string& wanted, bool one_host) {
  std::ifstream file("/proc/net/route");
  std::stringstream routes;
  routes << file.rdbuf();
  return choose_address(interfaces(), wanted, one_host, default_route_interface(routes.str()));
}

}  // namespace tutti
