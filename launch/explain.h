// SPDX-License-Identifier: Apache-2.0
// `tutti explain DIR`: the recordings of a run side by side on one time axis. First a verdict: which process stopped
// first, what each of the others was doing and since when; then the last events of all, a column for each process.
//
// Zero is the moment at which the first one stopped. Within a host times are exact, since its processes share the
// monotonic clock; hosts are aligned by their wall clocks, so that what lies between them is as good as these agree.
// Thread safety: functions without state.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "common/recording.h"
#include "common/result.h"

namespace tutti::launch {

/// What lies in a folder (of recordings, or of a run): the recordings, ordered by role, rank and generation, and a line
/// for each file that is none.
struct RecordingFolder {
  std::vector<Recording> recordings;
  std::vector<std::string> skipped;
  /// By the recording's name: what a process that was ended for its lack of progress has left, a line for each frame.
  std::map<std::string, std::vector<std::string>> stacks = {};
};
/// Errors: kIo when the folder cannot be read, kBadData when it holds no recording at all.
Result<RecordingFolder> read_recordings(const std::string& folder);

/// `events`: the last of all processes together, or of each where more than six do not fit side by side. REQUIRES:
/// there is a recording.
std::string explain(const RecordingFolder& folder, int events);

}  // namespace tutti::launch
