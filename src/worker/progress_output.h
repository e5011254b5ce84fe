// SPDX-License-Identifier: Apache-2.0
// Where rank 0's progress goes: a terminal of its own, its agent, which draws on the user's terminal, or plain lines on
// stdout. Thread safety: the training thread.
#pragma once

#include "common/config.h"
#include "common/log.h"
#include "worker/progress.h"
#include "worker/rendezvous.h"

namespace tutti::worker {

/// Where this process draws on the terminal itself, `log` becomes a logger that writes above its line.
Progress::Show progress_output(Way way, const Environment& environment, Logger& log);

}  // namespace tutti::worker
