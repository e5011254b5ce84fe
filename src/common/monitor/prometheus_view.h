// SPDX-License-Identifier: Apache-2.0
// The board as Prometheus sees it: names, labels and units stand in docs/monitoring.md. Of processes that are gone
// nothing is told but what the run counts of them.
// Thread safety: owned by the board's thread.
#pragma once

#include <prometheus/collectable.h>

#include <cstdint>
#include <string>
#include <vector>

#include "common/monitor/run_board.h"

namespace tutti::monitor {

/// What the coordinator refused.
struct Refused {
  std::uint64_t handshakes = 0, stale_frames = 0;
};

class PrometheusView final : public prometheus::Collectable {
 public:
  /// `board` outlives it.
  PrometheusView(const RunBoard& board, const Refused& refused, TimePoint now)
      : board_(board), refused_(refused), now_(now) {}
  std::vector<prometheus::MetricFamily> Collect() const override;
  /// In Prometheus' text format.
  std::string text() const;

 private:
  void collect_run(std::vector<prometheus::MetricFamily>& families) const;
  void collect_checkpoints(std::vector<prometheus::MetricFamily>& families) const;
  void collect_training(std::vector<prometheus::MetricFamily>& families) const;
  void collect_exchange(std::vector<prometheus::MetricFamily>& families) const;
  void collect_usage(std::vector<prometheus::MetricFamily>& families) const;

  const RunBoard& board_;
  const Refused refused_;
  const TimePoint now_;
};

}  // namespace tutti::monitor
