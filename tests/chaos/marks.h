// SPDX-License-Identifier: Apache-2.0
// What the tormented program and the test have written into the folder of marks, and what follows from it: how long it
// took to notice a fault, to commit the next step, and how many committed steps were made again. All times are of the
// host's monotonic clock. Thread safety: values.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/event.h"
#include "common/net/handshake_fsm.h"

namespace tutti::testing {

/// A line of a rank's diary.
struct Stamp {
  pid_t pid = 0;
  std::int64_t step = -1;  ///< -1: the process started
  std::int64_t ns = 0;
};
using Diary = std::vector<Stamp>;  ///< in the order in which it was written

/// When a fault struck.
struct Strike {
  int rank = -1;  ///< within its role; -1: all, or none of these
  std::int64_t step = 0;
  std::int64_t ns = 0;
  Role role = Role::kWorker;
};

class Marks {
 public:
  Marks(std::string folder, int ranks);
  /// As they are now.
  std::vector<Diary> diaries() const;
  /// Those that the program has struck by itself, in the order of its faults.
  std::vector<Strike> strikes() const;
  /// The process that is `rank` now; 0: none has begun yet.
  pid_t pid(int rank) const;
  /// Steps that every rank has made: so many. A step that is not made yet on one rank is not committed.
  std::int64_t committed() const;

 private:
  const std::string folder_;
  const int ranks_;
};

struct Measured {
  std::optional<double> detected_s;    ///< until the agent knew; nothing: no agent has seen the loss of that process
  std::optional<double> resumed_s;     ///< until every rank had committed a step again; nothing: never
  std::int64_t lost = 0;               ///< steps that were committed on all ranks and then made again
  std::int64_t before = 0, after = 0;  ///< steps that were committed before and after the fault
};
/// `until_ns`: when the next fault struck; what follows it is not this one's. `agent`: what the agent of the lost one
/// recorded.
Measured measure(const std::vector<Diary>& diaries, const Strike& strike, std::int64_t until_ns,
                 std::span<const Event> agent);

/// Of the monotonic clock, as the program stamps it.
std::int64_t monotonic_ns();

}  // namespace tutti::testing
