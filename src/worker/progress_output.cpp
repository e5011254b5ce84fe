// SPDX-License-Identifier: Apache-2.0
#include "worker/progress_output.h"

#include <unistd.h>

#include <cstdio>
#include <memory>

#include "common/status_line.h"

namespace tutti::worker {
namespace {

/// By the program's own streams, so that its lines and these keep their order.
void put(int fd, std::string_view bytes) {
  std::fflush(stdout);
  std::FILE* const stream = fd == STDERR_FILENO ? stderr : stdout;
  std::fwrite(bytes.data(), 1, bytes.size(), stream);
  std::fflush(stream);
}

void put_line(const std::string& line) {
  put(STDOUT_FILENO, line + "\n");
}

Progress::Show draw_by_agent() {
  return {[](const std::string& text) { put(STDOUT_FILENO, marked_status(text)); },
          [](const std::string& line) { put(STDOUT_FILENO, marked_status("") + line + "\n"); }};
}

Progress::Show draw_here(const Environment& environment, Logger& log) {
  StatusLine::Options options;
  options.out_terminal = true;
  options.err_terminal = is_terminal(STDERR_FILENO, environment);
  options.colours = wants_colours(environment);
  options.columns = [environment] { return columns_of(STDOUT_FILENO, environment); };
  const auto status = std::make_shared<StatusLine>(std::move(options), put);
  log = Logger::through([status](std::string_view line) { status->write(STDERR_FILENO, line); }, "tutti");
  return {[status](const std::string& text) { status->show(text); },
          [status](const std::string& line) {
            status->show("");
            status->write(STDOUT_FILENO, line + "\n");
          }};
}

Progress::Show plain_lines() {
  return {[](const std::string& text) {
            if (!text.empty()) put_line(text);
          },
          put_line};
}

}  // namespace

// What mpirun gives its processes for stdout is a terminal, whatever the user's is.
Progress::Show progress_output(Way way, const Environment& environment, Logger& log) {
  const auto asked = environment.find("TUTTI_TTY");
  if (way == Way::kManaged && asked != environment.end() && asked->second == "1") return draw_by_agent();
  if (way == Way::kAlone && is_terminal(STDOUT_FILENO, environment)) return draw_here(environment, log);
  return plain_lines();
}

}  // namespace tutti::worker
