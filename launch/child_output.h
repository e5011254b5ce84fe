// SPDX-License-Identifier: Apache-2.0
// What a child writes: every line of its stdout and stderr goes to its log file, whole, whichever stream is faster;
// rank 0's goes to this process' own streams besides, as it comes, and its status to the terminal. The last line of
// stderr is kept: mostly it says why the child died. Thread safety: lives on the agent's main thread, whose io_context
// reads the pipes.
#pragma once

#include <boost/asio/io_context.hpp>
#include <memory>
#include <string>
#include <string_view>

#include "common/file.h"
#include "common/result.h"
#include "common/status_line.h"

namespace tutti::launch {

/// Cuts a stream of bytes into lines. A line above 64 KiB is cut there, so that memory stays bounded.
class LineSplitter {
 public:
  template <class OnLine>
  void feed(std::string_view bytes, OnLine&& on_line) {
    for (char byte : bytes) {
      if (byte != '\n' && byte != '\r' && line_.size() < kLineBytesMax) {
        line_ += byte;
        continue;
      }
      flush(on_line);
      if (byte != '\n' && byte != '\r') line_ += byte;
    }
  }
  /// What is left when the stream has ended.
  template <class OnLine>
  void flush(OnLine&& on_line) {
    if (!line_.empty()) on_line(line_);
    line_.clear();
  }

 private:
  static constexpr std::size_t kLineBytesMax = 64 << 10;
  std::string line_;
};

/// Opened for appending; kIo when it cannot be.
Result<FileDescriptor> open_log(const std::string& path);

class ChildOutput {
 public:
  /// Reads `out` and `err` (non-blocking). They go to `forward` as well, which outlives this; null: nowhere.
  ChildOutput(boost::asio::io_context& context, FileDescriptor out, FileDescriptor err, FileDescriptor log,
              StatusLine* forward);
  ~ChildOutput();
  ChildOutput(ChildOutput&&) noexcept;

  /// Takes what is in the pipes and closes them. For a child that has ended: a grandchild that still holds a pipe is
  /// not waited for.
  void drain();
  const std::string& last_error() const noexcept;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace tutti::launch
