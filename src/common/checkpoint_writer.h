// SPDX-License-Identifier: Apache-2.0
// Writes checkpoints in the background, one at a time, while the training goes on, and does what prepares for them. A
// checkpoint that could not be written is a warning and a count: those before it are intact.
// Thread safety: the training thread calls; the writer has one thread of its own, which is joined when it is destroyed.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "common/checkpoint_file.h"
#include "common/clock.h"
#include "common/event.h"
#include "common/log.h"

namespace tutti {

struct CheckpointOrder {
  std::string directory;
  CheckpointContent content;  ///< its bytes stay as they are until the writer is idle again
  int keep = 0;               ///< newest ones; 0: all
  std::int32_t rank = 0;      ///< for the events
};

class CheckpointWriter {
 public:
  /// Everything handed in outlives the writer.
  CheckpointWriter(FileSystem& files, const Clock& clock, EventSink& events, Logger log);
  /// Finishes what is being written.
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  /// REQUIRES: idle.
  void start(CheckpointOrder order);
  /// Calls `work`, which does not throw, on the writer's thread. REQUIRES: idle.
  void prepare(std::function<void()> work);
  /// Nothing is being written or prepared. Waits for that at most so long.
  bool is_idle(Duration at_most = {});
  /// Grows with every piece that reached the file: where it stands still, the disk does.
  std::uint64_t progress() const noexcept { return progress_; }

  /// Why the last checkpoint could not be written, told once; success where it was, or none was started.
  Result<> take_failure();
  std::uint64_t written() const;
  std::uint64_t failed() const;

 private:
  void run();
  void write(const CheckpointOrder& order);
  Result<> write_files(const CheckpointOrder& order);
  void record(EventKind kind, const CheckpointOrder& order) noexcept;

  FileSystem& files_;
  const Clock& clock_;
  EventSink& events_;
  const Logger log_;
  std::atomic<std::uint64_t> progress_ = 0;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<CheckpointOrder> order_;  // guarded by mutex_; there while it is being written
  std::function<void()> preparation_;     // guarded by mutex_; there while it runs
  bool ending_ = false;                   // guarded by mutex_
  std::optional<Failure> failure_;        // guarded by mutex_
  std::uint64_t written_ = 0;             // guarded by mutex_
  std::uint64_t failed_ = 0;              // guarded by mutex_
  std::thread thread_;                    // last: what it uses is there
};

}  // namespace tutti
