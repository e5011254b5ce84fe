// SPDX-License-Identifier: Apache-2.0
// Sends a process' reports to the coordinator, from the loop, once a second.
// Thread safety: made and destroyed by any thread but the loop's; log() and set_position() from any.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "common/clock.h"
#include "common/control/report.h"
#include "common/event.h"
#include "common/metrics.h"
#include "common/net/loop.h"

namespace tutti {

class Reporter {
 public:
  struct Options {
    Duration period = std::chrono::seconds(1);
    std::string gpu = {};  ///< as UsageMeter has it
  };
  /// Called on the loop with an encoded Report.
  using Send = std::function<void(std::string)>;

  /// `metrics` and what `send` needs outlive it.
  Reporter(Loop& loop, const MetricsCounter& metrics, const Clock& clock, Send send, Options options);
  /// After a last report, of the end.
  ~Reporter();

  /// The program logged it at `step`. Of more than a few hundred between two reports the newest of each name count.
  void log(std::string_view name, std::int64_t step, double value);
  void set_position(const RunPosition& position);

 private:
  struct Impl;
  Loop& loop_;
  std::shared_ptr<Impl> impl_;
};

}  // namespace tutti
