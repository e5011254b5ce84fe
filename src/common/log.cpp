// SPDX-License-Identifier: Apache-2.0
#include "common/log.h"

#include <spdlog/logger.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <mutex>

namespace tutti {
namespace {

struct Level {
  spdlog::level::level_enum theirs;
  std::string_view name;
};
Level described(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return {spdlog::level::debug, "DEBUG"};
    case LogLevel::kInfo:
      return {spdlog::level::info, "INFO"};
    case LogLevel::kWarning:
      return {spdlog::level::warn, "WARNING"};
    case LogLevel::kError:
      break;
  }
  return {spdlog::level::err, "ERROR"};
}

// A line reaches the file before write() returns: what a process said last is what its death is explained with.
std::shared_ptr<spdlog::logger> make_logger(std::string who, LogLevel least, spdlog::sink_ptr sink) {
  auto logger = std::make_shared<spdlog::logger>(std::move(who), std::move(sink));
  logger->set_pattern("%H:%M:%S.%e %v");
  logger->set_level(described(least).theirs);
  logger->flush_on(spdlog::level::trace);
  return logger;
}

class PrintSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit PrintSink(std::function<void(std::string_view)> print) : print_(std::move(print)) {}

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    print_({line.data(), line.size()});
  }
  void flush_() override {}

  const std::function<void(std::string_view)> print_;
};

}  // namespace

Logger Logger::to_stderr(std::string who, LogLevel least) {
  return Logger(make_logger(std::move(who), least, std::make_shared<spdlog::sinks::stderr_sink_mt>()));
}

Logger Logger::through(std::function<void(std::string_view line)> print, std::string who, LogLevel least) {
  return Logger(make_logger(std::move(who), least, std::make_shared<PrintSink>(std::move(print))));
}

Result<Logger> Logger::to_file(const std::string& path, std::string who, LogLevel least) {
  try {
    return Logger(make_logger(std::move(who), least, std::make_shared<spdlog::sinks::basic_file_sink_mt>(path)));
  } catch (const spdlog::spdlog_ex& error) {
    return fail(Errc::kIo, error.what()).wrap("the log file " + path + " cannot be written");
  }
}

Logger Logger::none() {
  return Logger(nullptr);
}

void Logger::write(LogLevel level, std::string_view text) const {
  if (!sink_) return;
  const Level described_level = described(level);
  sink_->log(described_level.theirs, "{} {}: {}", described_level.name, sink_->name(), text);
}

}  // namespace tutti
