// SPDX-License-Identifier: Apache-2.0
// The flight recorder: a process' last 2,048 events in a memory-mapped file, which is whole after any death of the
// process, SIGKILL among them, since the system owns its pages. What is on the disk after the whole machine went down
// may be older by half a minute.
//
// The file is a page and so many entries (recording_format.h), which are used in turn: one that two threads a whole
// ring apart wrote at once fails its check, too, and is left out. The magic is TUTTIREC. Thread safety: record() from
// any thread; the rest belongs to the one that made the Recorder.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/event.h"
#include "common/log.h"
#include "common/recording_format.h"
#include "common/result.h"

namespace tutti {

inline constexpr std::size_t kRecordedEvents = 2048;

class Recorder final : public EventSink {
 public:
  /// Begins a recording in `folder`, which is made if it is not there; one of the same name is replaced. All of the
  /// file is allocated now: a full disk is kIo here, never a signal later.
  static Result<std::unique_ptr<Recorder>> create(const std::string& folder, const RecordedProcess& process);
  ~Recorder() override;

  /// A few stores: no lock, no system call.
  void record(const Event& event) noexcept override;
  const std::string& path() const noexcept { return path_; }
  /// The process ended well: takes the file away. Events that still come go nowhere.
  void discard() noexcept;

 private:
  Recorder(std::string path, std::span<std::byte> memory);

  const std::string path_;
  const std::span<std::byte> memory_;
  std::atomic<std::uint64_t> recorded_ = 0;
};

/// The recording of this process, for one that goes on without: null where `folder` is empty, or, after a warning,
/// where the recording cannot be made. `process.pid` is filled in.
std::unique_ptr<Recorder> begin_recording(const std::string& folder, RecordedProcess process, const Logger& log);

/// A recording, read back.
struct Recording {
  RecordedProcess process;
  std::int64_t wall_ns = 0;   ///< since 1970, at `started`
  TimePoint started{};        ///< by the monotonic clock of its host
  std::vector<Event> events;  ///< the oldest first
  std::uint64_t torn = 0;     ///< entries that failed their check
};

/// Also of a process that is alive. Errors: kIo; kBadData, naming the file, for one that is no recording, is truncated,
/// or of another version.
Result<Recording> read_recording(const std::string& path);

}  // namespace tutti
