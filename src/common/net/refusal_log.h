// SPDX-License-Identifier: Apache-2.0
// Counts what an acceptor refused and tells it in the log, at most one line for each source address in ten seconds: a
// port scan must not fill a disk.
// Thread safety: owned by one thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "common/clock.h"
#include "common/log.h"

namespace tutti {

class RefusalLog {
 public:
  /// `clock` must outlive the object.
  RefusalLog(const Clock& clock, Logger log) : clock_(clock), log_(std::move(log)) {}

  void refuse(const std::string& source_address, const Failure& why);
  std::uint64_t refused() const noexcept { return refused_; }

 private:
  bool is_due(const std::string& source_address);

  const Clock& clock_;
  const Logger log_;
  std::map<std::string, TimePoint> last_line_;
  std::uint64_t refused_ = 0;
};

}  // namespace tutti
