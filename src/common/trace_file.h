// SPDX-License-Identifier: Apache-2.0
// Events as a file of JSON lines, one object a line:
//   {"time_us":1234,"kind":"bucket_done","rank":0,"generation":1,"step":7,"object":0,"bucket":2,"bytes":4096}
// time_us is the machine's monotonic clock.
// Thread safety: any thread.
#pragma once

#include <cstdio>
#include <memory>
#include <mutex>
#include <string>

#include "common/event.h"
#include "common/result.h"

namespace tutti {

/// One line, with its end.
std::string trace_line(const Event& event);

class TraceFile final : public EventSink {
 public:
  /// Begins a new file. Errors: kIo, naming the path.
  static Result<std::unique_ptr<TraceFile>> create(const std::string& path);
  ~TraceFile() override;

  /// Lines reach the file at the end of each iteration. A disk that is full is told by close().
  void record(const Event& event) noexcept override;
  /// Writes what is left. kIo when a line could not be written, now or before.
  Result<> close();

 private:
  TraceFile(std::string path, std::FILE* file) : path_(std::move(path)), file_(file) {}

  const std::string path_;
  std::mutex mutex_;
  std::FILE* file_;  // guarded by mutex_; null once closed
  int error_ = 0;    // guarded by mutex_; errno of the first line that was lost
};

}  // namespace tutti
