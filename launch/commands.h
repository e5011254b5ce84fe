// SPDX-License-Identifier: Apache-2.0
// The command line of `tutti`: what was asked for, and what is done about it.
// Thread safety: the main thread, before any other is started.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "common/config.h"
#include "common/result.h"
#include "launch/bench_command.h"
#include "launch/checkpoint_command.h"
#include "launch/report_command.h"
#include "launch/resize.h"
#include "launch/run.h"
#include "launch/status_command.h"

namespace tutti::launch {

struct RunCommand {
  RunRequest request;
  bool dry_run = false;
};
struct ServerCommand {};
struct DoctorCommand {};
struct ExplainCommand {
  std::string folder;
  int events = 40;
};
struct TraceCommand {
  std::string folder;
  std::string trace;  ///< empty: by the folder's name
};
/// Text that was asked for: help, the version.
struct PrintCommand {
  std::string text;
};
using Command = std::variant<RunCommand, ResizeCommand, BenchCommand, CheckpointCommand, ServerCommand, DoctorCommand,
                             ExplainCommand, TraceCommand, StatusCommand, ReportCommand, PrintCommand>;

/// `arguments` are those behind the program's name. Errors: kUsage, naming what is wrong and how it goes.
Result<Command> parse_command(const std::vector<std::string>& arguments);

/// Does it and returns the exit code. `line` is the whole command line, the program's path first: an mpirun is told to
/// start it again.
int execute(const RunCommand& command, const std::vector<std::string>& line, const Environment& environment);
int execute(const BenchCommand& command, const std::vector<std::string>& line, const Environment& environment);
int execute(const ServerCommand& command, const Environment& environment);
int execute(const DoctorCommand& command, const Environment& environment);
int execute(const ExplainCommand& command);
int execute(const TraceCommand& command);

}  // namespace tutti::launch
