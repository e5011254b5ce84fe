// SPDX-License-Identifier: Apache-2.0
// Event files as TensorBoard reads them: records of TensorFlow's format, each of which is an Event in protocol buffers.
// A record is u64 length, u32 checksum of the length, the bytes, u32 checksum of the bytes, all little-endian; a
// checksum is CRC-32C, rotated and moved so that it does not look like one. A reader takes whole records and waits for
// the rest of one that is cut.
// Thread safety: one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "common/distribution.h"
#include "common/file.h"
#include "common/result.h"

namespace tutti {

/// When an event was: TensorBoard's two axes.
struct EventTime {
  std::int64_t step = 0;
  double wall_s = 0;  ///< since 1970
};

class EventFile {
 public:
  /// Begins the file events.out.tfevents.SECONDS.HOST.PID in `folder`, which is made if it is not there; SECONDS are
  /// those of `wall_s`. Nothing of what was in the folder is touched: TensorBoard reads all its files as one run.
  /// Errors: kIo, naming the path.
  static Result<std::unique_ptr<EventFile>> create(const std::string& folder, const std::string& host, double wall_s);
  /// flush(), whose failure nobody hears of.
  ~EventFile();
  EventFile(const EventFile&) = delete;
  EventFile& operator=(const EventFile&) = delete;

  // Each adds an event to what flush() writes. Bytes of a tag or a text that is not UTF-8 become '?': it would make the
  // whole file unreadable.
  void scalar(EventTime when, std::string_view tag, double value);  ///< kept as float32
  void histogram(EventTime when, std::string_view tag, const Distribution& distribution);
  void text(EventTime when, std::string_view tag, std::string_view markdown);
  /// What the folder's files have from `when.step` on is of no account: a run began there anew.
  void restart(EventTime when);

  /// Hands all events to the system: the end of the process does them no harm. kIo for the first that could not be
  /// written; from then on all are dropped.
  Result<> flush();
  std::size_t unwritten_bytes() const noexcept { return buffer_.size(); }
  const std::string& path() const noexcept { return path_; }

 private:
  EventFile(std::string path, FileDescriptor file) : path_(std::move(path)), file_(std::move(file)) {}
  void append(std::string_view event);

  const std::string path_;
  FileDescriptor file_;  // empty once an event was lost
  std::string buffer_;
};

}  // namespace tutti
