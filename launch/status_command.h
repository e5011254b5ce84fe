// SPDX-License-Identifier: Apache-2.0
// `tutti status [JOB]`: the state of a run as a table, once or again and again. A run that is over shows what it left.
// Thread safety: the main thread.
#pragma once

#include <string>

#include "common/config.h"
#include "common/result.h"

namespace tutti::launch {

struct StatusCommand {
  std::string job;               ///< a run's folder, its name within log_dir, or its page's address; empty: the newest
  std::string log_dir = "runs";  ///< where runs make their folders
  bool watch = false;            ///< until the run ends
};

/// The folder of a run that `job` names. Errors: kUsage, naming what was looked for.
Result<std::string> find_run(const std::string& job, const std::string& log_dir);

int execute(const StatusCommand& command, const Environment& environment);

}  // namespace tutti::launch
