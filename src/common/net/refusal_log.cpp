// SPDX-License-Identifier: Apache-2.0
#include "common/net/refusal_log.h"

namespace tutti {
namespace {

constexpr auto kSilence = std::chrono::seconds(10);
constexpr std::size_t kAddressesMax = 1024;

}  // namespace

void RefusalLog::refuse(const std::string& source_address, const Failure& why) {
  ++refused_;
  if (is_due(source_address)) {
    log_.warning("refused a connection from {}: {} ({} refused so far)", source_address, why.text(), refused_);
  }
}

bool RefusalLog::is_due(const std::string& source_address) {
  const TimePoint now = clock_.now();
  std::erase_if(last_line_, [&](const auto& line) { return now - line.second >= kSilence; });
  if (last_line_.size() >= kAddressesMax) return false;
  return last_line_.emplace(source_address, now).second;
}

}  // namespace tutti
