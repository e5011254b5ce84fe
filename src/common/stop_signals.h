// SPDX-License-Identifier: Apache-2.0
// How a process is asked to stop: TERM or USR1, as Slurm sends them, or a word of its agent's in the status page. The
// first asking is a wish, which the process grants when its step is done; a second one ends it at once. Askings within
// half a second are one: Slurm and a launcher may both hand on the same.
// Thread safety: one object in a process at a time, made and destroyed on one thread; asked() from any.
#pragma once

#include <signal.h>

#include <array>
#include <chrono>

#include "common/bootstrap.h"

namespace tutti {

/// Askings that are closer together are the same one, handed on twice.
constexpr std::chrono::milliseconds kSameAsking{500};

class StopSignals {
 public:
  /// Handles the signals that nobody else handles yet. `page` is the agent's, or null; it must outlive this.
  explicit StopSignals(const StatusPage* page);
  /// As it was before.
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  bool asked() const noexcept;

 private:
  struct Handled {
    int signal = 0;
    bool ours = false;
  };
  std::array<Handled, 2> handled_;
};

}  // namespace tutti
