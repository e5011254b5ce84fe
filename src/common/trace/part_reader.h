// SPDX-License-Identifier: Apache-2.0
// Reads a part of a trace, also of a process that is alive or was killed. Events come in the order of their times,
// though several threads recorded them, by looking ahead over so many; memory does not grow with the part.
// Thread safety: one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/event.h"
#include "common/file.h"
#include "common/recording_format.h"
#include "common/result.h"

namespace tutti {

class PartReader {
 public:
  /// Errors: kIo; kBadData, naming the file, for one that is no part or of another version.
  static Result<PartReader> open(const std::string& path);

  const RecordingHead& head() const noexcept { return head_; }
  /// The next event; none after the last.
  std::optional<Event> next();
  /// Entries so far that were not whole and were left out.
  std::uint64_t torn() const noexcept { return torn_; }
  /// The file's, by which it is known under any name: device and inode.
  std::pair<std::uint64_t, std::uint64_t> identity() const noexcept;

 private:
  struct Numbered {
    std::uint64_t number;
    Event event;
  };

  PartReader(FileDescriptor file, RecordingHead head) : file_(std::move(file)), head_(std::move(head)) {}
  void fill();
  void take(const RecordedEntry& entry);

  FileDescriptor file_;
  RecordingHead head_;
  std::vector<Numbered> ahead_;  // a heap: the earliest first
  std::uint64_t read_ = 0;       // entries, of any kind
  std::uint64_t torn_ = 0;
  bool is_at_end_ = false;
};

}  // namespace tutti
