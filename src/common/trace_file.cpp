// SPDX-License-Identifier: Apache-2.0
#include "common/trace_file.h"

#include <fmt/format.h>

#include <cerrno>
#include <chrono>
#include <utility>

namespace tutti {

std::string trace_line(const Event& event) {
  const auto time = std::chrono::floor<std::chrono::microseconds>(event.time.time_since_epoch());
  return fmt::format(
      "{{\"time_us\":{},\"kind\":\"{}\",\"rank\":{},\"generation\":{},\"step\":{},\"object\":{},\"bucket\":{},"
      "\"bytes\":{}}}\n",
      time.count(), name_of(event.kind), event.rank, event.generation, event.step, event.object, event.bucket,
      event.bytes);
}

Result<std::unique_ptr<TraceFile>> TraceFile::create(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "we");
  if (file == nullptr) return fail_errno("the trace " + path + " cannot be written", errno);
  return std::unique_ptr<TraceFile>(new TraceFile(path, file));
}

TraceFile::~TraceFile() {
  (void)close();
}

void TraceFile::record(const Event& event) noexcept {
  const std::string line = trace_line(event);
  const std::lock_guard lock(mutex_);
  if (file_ == nullptr || error_ != 0) return;
  const bool written = std::fwrite(line.data(), 1, line.size(), file_) == line.size();
  const bool flushed = event.kind != EventKind::kIterationEnd || std::fflush(file_) == 0;
  if (!written || !flushed) error_ = errno;
}

Result<> TraceFile::close() {
  const std::lock_guard lock(mutex_);
  if (file_ == nullptr) return {};
  if (std::fclose(std::exchange(file_, nullptr)) != 0 && error_ == 0) error_ = errno;
  if (error_ != 0) return fail_errno("the trace " + path_ + " could not be written", error_);
  return {};
}

}  // namespace tutti
