// SPDX-License-Identifier: Apache-2.0
// Where a process is that gets on no more: asked by a signal, its main thread writes its stack into a file beside its
// recording, before whoever asked ends it.
// Thread safety: one call for each process; the handler interrupts whatever the main thread does.
#pragma once

#include <csignal>
#include <string>

#include "common/result.h"

namespace tutti {

inline constexpr int kStackSignal = SIGUSR2;

/// "rank-0003.g1.stack" for "rank-0003.g1.rec".
std::string stack_path(std::string recording_path);
/// Opens the file and takes kStackSignal from here on; not where the program has a handler of its own for it. All that
/// the handler needs is prepared now. Errors: kIo.
Result<> write_stack_when_asked(const std::string& path);
/// The process ends well: takes the file away.
void discard_stack_file(const std::string& path) noexcept;
/// Whether a process has a handler for the signal, as the system knows it; false where there is no such process.
bool catches(int pid, int signal);

}  // namespace tutti
