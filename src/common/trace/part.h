// SPDX-License-Identifier: Apache-2.0
// One process' part of a trace: all its events, binary, in a file of its own beside the trace
// (run.json.parts/rank-0003.g1.part), from which merge.h makes what a browser shows. The file is a page and entries
// (recording_format.h); the magic is TUTTIPRT. It grows by windows that are allocated before they are mapped, so that a
// full disk is a warning and never a signal, and it is whole after any death of its process.
// Thread safety: record() from any thread; the rest belongs to the one that made the part.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "common/event.h"
#include "common/file.h"
#include "common/log.h"
#include "common/recording_format.h"
#include "common/result.h"

namespace tutti {

inline constexpr RecordingFormat kPartFormat{"TUTTIPRT", "part of a trace", 0};
inline constexpr std::size_t kPartWindowBytes = 1 << 20;
/// Where one process' part ends, with a warning: 16 million events, of which no browser shows a tenth.
inline constexpr std::size_t kPartWindowsMax = 1024;
inline constexpr std::string_view kPartExtension = ".part";

/// "run.json.parts"
std::string parts_folder(const std::string& trace);

class TracePart final : public EventSink {
 public:
  /// Begins a part in `folder`, which is made if it is not there; one of the same name is replaced. `process.pid` is
  /// filled in. Errors: kIo, naming the path.
  static Result<std::unique_ptr<TracePart>> create(const std::string& folder, RecordedProcess process, Logger log);
  ~TracePart() override;

  /// A few stores; every 16,384th event also opens the next window. Events are left out, after one warning, once there
  /// is no room for them.
  void record(const Event& event) noexcept override;
  const std::string& path() const noexcept { return path_; }

 private:
  TracePart(std::string path, FileDescriptor file, Logger log);
  Result<> open_window(std::size_t number);
  std::byte* window(std::size_t number) noexcept;
  void give_up(const std::string& why) noexcept;

  const std::string path_;
  const FileDescriptor file_;
  const Logger log_;
  std::atomic<std::uint64_t> recorded_ = 0;
  std::atomic<bool> is_full_ = false;
  std::array<std::atomic<std::byte*>, kPartWindowsMax> windows_{};  // null: not open yet
  std::mutex mutex_;                                                // held to open one
};

/// This process' part of `trace`; null where that is empty.
Result<std::unique_ptr<TracePart>> begin_part(const std::string& trace, RecordedProcess process, const Logger& log);

}  // namespace tutti
