// SPDX-License-Identifier: Apache-2.0
// `tutti report DIR [DIR]`: one HTML file, whole in itself, of a run, or of two side by side.
// Thread safety: the main thread.
#pragma once

#include <string>
#include <vector>

#include "common/result.h"

namespace tutti::launch {

struct ReportCommand {
  std::vector<std::string> folders;  ///< one or two: of runs
  std::string out;                   ///< the file; empty: report.html in the first folder
};

/// The page. Errors: those of read_history.
Result<std::string> report_page(const std::vector<std::string>& folders);

int execute(const ReportCommand& command);

}  // namespace tutti::launch
