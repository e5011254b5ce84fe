// SPDX-License-Identifier: Apache-2.0
// The program `tutti`. It takes the snapshot of the environment; nothing below reads it.
#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include "launch/commands.h"
#include "launch/complain.h"
#include "launch/executable.h"

namespace {

/// Whoever closed one of them would have the next descriptor we open taken for it.
void keep_standard_descriptors() {
  int fd = open("/dev/null", O_RDWR);
  while (fd >= 0 && fd <= STDERR_FILENO) fd = open("/dev/null", O_RDWR);
  if (fd >= 0) close(fd);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace tutti::launch;
  keep_standard_descriptors();
  const auto environment = tutti::environment_snapshot();
  std::vector<std::string> line(argv, argv + argc);
  line[0] = own_executable();

  const auto command = parse_command({line.begin() + 1, line.end()});
  if (!command) return complain(command.error());
  if (const auto* print = std::get_if<PrintCommand>(&*command)) {
    fmt::print("{}", print->text);
    return 0;
  }
  if (const auto* run = std::get_if<RunCommand>(&*command)) return execute(*run, line, environment);
  if (const auto* bench = std::get_if<BenchCommand>(&*command)) return execute(*bench, line, environment);
  if (const auto* checkpoint = std::get_if<CheckpointCommand>(&*command)) return execute(*checkpoint);
  if (const auto* resize = std::get_if<ResizeCommand>(&*command)) return execute(*resize);
  if (const auto* server = std::get_if<ServerCommand>(&*command)) return execute(*server, environment);
  if (const auto* explain = std::get_if<ExplainCommand>(&*command)) return execute(*explain);
  if (const auto* status = std::get_if<StatusCommand>(&*command)) return execute(*status, environment);
  if (const auto* report = std::get_if<ReportCommand>(&*command)) return execute(*report);
  if (const auto* trace = std::get_if<TraceCommand>(&*command)) return execute(*trace);
  return execute(std::get<DoctorCommand>(*command), environment);
}
