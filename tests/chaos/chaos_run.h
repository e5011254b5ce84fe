// SPDX-License-Identifier: Apache-2.0
// A run of the chaos program under faults, and what it is measured by: the final hash, the steps that were committed,
// and how long it took to go on after a loss, from the lines that the run prints when it loses a process and when the
// others have met its successor.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "tests/support/run_tutti.h"

namespace tutti::testing {

struct ChaosOptions {
  std::string exchange = "shm";
  int workers = 4;
  int shards = 0;
  std::string optimizer = "sgd";
  int hold_ms = 0;
  std::string slow = "";  ///< as the program reads it
  std::vector<std::string> configuration = {};
  std::vector<std::string> faults = {};  ///< as the program reads them
};

/// One thread for every process: another number gives other bits, by LibTorch.
RunTutti::Options chaos_run(const ChaosOptions& options, const std::string& marks);

/// What an undisturbed run of the same kind ends with; computed once for each kind.
const std::string& undisturbed_hash(const ChaosOptions& options);

/// How often `text` is in `in`.
std::size_t count(const std::string& in, const std::string& text);

}  // namespace tutti::testing
