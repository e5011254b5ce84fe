// SPDX-License-Identifier: Apache-2.0
#include "tests/chaos/chaos_run.h"

#include <map>
#include <tuple>

#include "tests/worker/training_run.h"

namespace tutti::testing {

RunTutti::Options chaos_run(const ChaosOptions& options, const std::string& marks) {
  Strings arguments = {"run", "launcher=local", "workers=" + std::to_string(options.workers),
                       "exchange=" + options.exchange, "shards=" + std::to_string(options.shards)};
  arguments = arguments + options.configuration + Strings{"--",          bin_folder() + "/test_chaos",
                                                          "--optimizer", options.optimizer,
                                                          "--hold-ms",   std::to_string(options.hold_ms)};
  if (!options.slow.empty()) arguments = arguments + Strings{"--slow", options.slow};
  if (!marks.empty()) arguments = arguments + Strings{"--marks", marks};
  for (const std::string& fault : options.faults) arguments = arguments + Strings{"--fault", fault};
  return {.arguments = arguments, .environment = one_thread()};
}

const std::string& undisturbed_hash(const ChaosOptions& options) {
  static std::map<std::tuple<int, std::string>, std::string> known;
  std::string& hash = known[{options.workers, options.optimizer}];
  if (hash.empty()) {
    ChaosOptions plain = options;
    plain.faults.clear();
    plain.hold_ms = 0;
    plain.slow.clear();
    plain.configuration.clear();
    RunTutti run(chaos_run(plain, ""));
    hash = hash_of(run);
  }
  return hash;
}

std::size_t count(const std::string& in, const std::string& text) {
  std::size_t found = 0;
  for (std::size_t at = in.find(text); at != std::string::npos; at = in.find(text, at + 1)) ++found;
  return found;
}

}  // namespace tutti::testing
