// SPDX-License-Identifier: Apache-2.0
// From the parts of all processes (part.h) to one trace that a browser shows: a file of Chrome's JSON. It is written
// aside and renamed, so that at any time the file is one whole trace, though perhaps an older one.
// Thread safety: functions without state. Several processes may merge the same parts at once.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "common/result.h"

namespace tutti {

/// What became of the parts.
struct MergedTrace {
  struct Part {
    std::string path;
    std::uint64_t device = 0, inode = 0;
  };
  std::vector<Part> parts;           ///< that are in the trace
  std::vector<std::string> skipped;  ///< why another could not be read, one a line
  std::uint64_t torn = 0;            ///< entries that were not whole
};
/// Reads the parts in `folder` and writes `trace`. Errors: kIo, naming the path; kCancelled once `stop` is true.
Result<MergedTrace> merge_trace(const std::string& folder, const std::string& trace,
                                const std::atomic<bool>* stop = nullptr);
/// Takes away what is in the trace, and the folder if nothing else is in it.
void remove_parts(const std::string& folder, const MergedTrace& merged) noexcept;

/// For whoever begins a run, before anybody records: an empty trace, and a folder for parts that holds none of an older
/// run. Errors: kIo, naming the path.
Result<> prepare_trace(const std::string& trace);
/// For whoever ends it: the trace of all that was recorded. Returns what the user should hear of it, if anything.
Result<std::vector<std::string>> finish_trace(const std::string& trace);

}  // namespace tutti
