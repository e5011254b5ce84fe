// SPDX-License-Identifier: Apache-2.0
// What is to be measured: what `tutti bench` hands on to each of its ranks, the program tutti-bench.
// Thread safety: values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"

namespace CLI {
class App;
}

namespace tutti::bench {

struct Options {
  std::string bench;                 ///< "allreduce", "pushpull", "step", "guards", "watching"
  std::vector<std::uint64_t> bytes;  ///< of one rank's tensors; empty: the bench's own
  std::string model = "mlp";         ///< "mlp", "lenet"
  std::string transport = "auto";    ///< "auto", "tcp"
  std::string memory = "exchange";   ///< where an all-reduce's tensors lie: "exchange", "anywhere"
  std::vector<std::string> vs;       ///< limits of the machine to measure besides: "memcpy", "tcp"
  int rounds = 0;                    ///< 0: one second's, 20 at least
  std::string
      side;  ///< of guards "guarded" or "bare", of watching "watched" or "unwatched", where this is one of the two runs
  std::string turns;      ///< then the folder through which they take turns
  double tolerance = -1;  ///< relative, of a result; negative: what the exchange promises
  bool json = false;

  bool operator==(const Options&) const = default;
};

/// Whether the bench is two runs that take turns (guards.h).
inline bool takes_turns(std::string_view bench) {
  return bench == "guards" || bench == "watching";
}

/// The options as those of `app`; `options` is filled when `app` parses, and outlives it.
void add_options(CLI::App& app, Options& options);
/// Checks what one option alone cannot, and puts the bench's own sizes where none were given. Errors: kUsage.
Result<> complete(Options& options);
/// The command line that gives the same options again.
std::vector<std::string> to_arguments(const Options& options);
/// tutti-bench's own command line, behind the program's name. Errors: kUsage.
Result<Options> parse_options(std::vector<std::string> arguments);

}  // namespace tutti::bench
