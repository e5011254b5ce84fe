// SPDX-License-Identifier: Apache-2.0
// The logger that main builds and everybody else is handed. A line is "HH:MM:SS.mmm LEVEL who: text"; `who` is
// "rank 2", "shard 0", "agent 1".
// Thread safety: any thread.
#pragma once

#include <fmt/format.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "common/result.h"

namespace spdlog {
class logger;
}

namespace tutti {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

class Logger {
 public:
  /// Writes to stderr.
  static Logger to_stderr(std::string who, LogLevel least = LogLevel::kInfo);
  /// Hands each line, with its end, to `print`, one at a time.
  static Logger through(std::function<void(std::string_view line)> print, std::string who,
                        LogLevel least = LogLevel::kInfo);
  /// Appends to `path`, whose folder is made if it is not there.
  static Result<Logger> to_file(const std::string& path, std::string who, LogLevel least = LogLevel::kInfo);
  /// Drops everything.
  static Logger none();

  void write(LogLevel level, std::string_view text) const;
  template <class... Args>
  void debug(fmt::format_string<Args...> format, Args&&... args) const {
    write(LogLevel::kDebug, fmt::format(format, std::forward<Args>(args)...));
  }
  template <class... Args>
  void info(fmt::format_string<Args...> format, Args&&... args) const {
    write(LogLevel::kInfo, fmt::format(format, std::forward<Args>(args)...));
  }
  template <class... Args>
  void warning(fmt::format_string<Args...> format, Args&&... args) const {
    write(LogLevel::kWarning, fmt::format(format, std::forward<Args>(args)...));
  }
  template <class... Args>
  void error(fmt::format_string<Args...> format, Args&&... args) const {
    write(LogLevel::kError, fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  explicit Logger(std::shared_ptr<spdlog::logger> sink) : sink_(std::move(sink)) {}
  std::shared_ptr<spdlog::logger> sink_;  // null: none()
};

}  // namespace tutti
