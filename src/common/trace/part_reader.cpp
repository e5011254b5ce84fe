// SPDX-License-Identifier: Apache-2.0
#include "common/trace/part_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>
#include <utility>

#include "common/trace/part.h"

namespace tutti {
namespace {

// A thread may lie so far behind with its store; events of one thread never change places.
constexpr std::size_t kLookAhead = 4096;
constexpr std::size_t kEntriesAtOnce = 1024;

/// What there is, up to the end of the file or an error, which is the end for whoever looks at what is left.
std::size_t read_at(int fd, std::span<std::byte> bytes, std::uint64_t offset) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t got = ::pread(fd, bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

}  // namespace

Result<PartReader> PartReader::open(const std::string& path) {
  FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return fail_errno("cannot read " + path, errno);
  std::array<std::byte, kRecordingPageBytes> page;
  const std::size_t bytes = read_at(file.get(), page, 0);
  auto head = read_page(kPartFormat, std::span(page).first(bytes), path);
  if (!head) return head.error();
  return PartReader(std::move(file), *std::move(head));
}

std::pair<std::uint64_t, std::uint64_t> PartReader::identity() const noexcept {
  struct stat own {};
  ::fstat(file_.get(), &own);
  return {own.st_dev, own.st_ino};
}

// Zeros are no end: a thread may have died, or be, between taking its number and its store.
void PartReader::take(const RecordedEntry& entry) {
  ++read_;
  const std::uint64_t number = number_of(entry);
  if (number == read_) {
    ahead_.push_back({number, event_of(entry)});
    std::ranges::push_heap(ahead_, std::greater(),
                           [](const Numbered& one) { return std::pair(one.event.time, one.number); });
  } else if (entry != RecordedEntry{}) {
    ++torn_;
  }
}

void PartReader::fill() {
  std::array<RecordedEntry, kEntriesAtOnce> entries;
  while (!is_at_end_ && ahead_.size() < kLookAhead) {
    const std::size_t bytes = read_at(file_.get(), std::as_writable_bytes(std::span(entries)),
                                      kRecordingPageBytes + read_ * kRecordingEntryBytes);
    is_at_end_ = bytes < sizeof entries;
    for (const RecordedEntry& entry : std::span(entries).first(bytes / kRecordingEntryBytes)) take(entry);
  }
}

std::optional<Event> PartReader::next() {
  fill();
  if (ahead_.empty()) return std::nullopt;
  std::ranges::pop_heap(ahead_, std::greater(),
                        [](const Numbered& one) { return std::pair(one.event.time, one.number); });
  const Event event = ahead_.back().event;
  ahead_.pop_back();
  return event;
}

}  // namespace tutti
