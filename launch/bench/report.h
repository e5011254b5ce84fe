// SPDX-License-Identifier: Apache-2.0
// What a measurement is told as: one JSON object a line, or a table. The peers of tests/perf print the same lines.
// Thread safety: pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "launch/bench/statistics.h"

namespace tutti::bench {

struct Measurement {
  std::string bench;      ///< "allreduce", "pushpull", "step", "guards", "watching", "memcpy", "tcp"
  std::string exchange;   ///< "ps"; "none" for the limits of the machine
  std::string transport;  ///< as it was asked for: "auto", "tcp"
  int ranks = 1;
  int shards = 0;
  std::uint64_t bytes = 0;  ///< of one rank's tensors
  std::string model;        ///< of a step
  Summary us;               ///< of a round or step
  std::optional<double> exposed_us;
  /// What belongs to one kind of measurement only, by its key: "forward_us", "rounds".
  std::vector<std::pair<std::string, double>> more = {};
  std::string memory = {};  ///< of an all-reduce: "exchange", "anywhere"

  /// One way, of one rank: bytes over the median.
  double bytes_per_s() const noexcept { return us.p50 > 0 ? static_cast<double>(bytes) / us.p50 * 1e6 : 0; }
};

/// The keys bench, exchange, transport, ranks, shards, bytes, model, p50_us, p99_us, bytes_per_s, exposed_us (null
/// where there is none), then more. Without a line's end.
std::string to_json(const Measurement& measurement);
/// A head and one line for each.
std::string to_table(const std::vector<Measurement>& measurements);
/// The same for guards and watching, whose lines come from one run each.
std::string guards_head();
std::string guards_line(const Measurement& measurement);

}  // namespace tutti::bench
