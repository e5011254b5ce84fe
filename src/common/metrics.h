// SPDX-License-Identifier: Apache-2.0
// What a process has done so far, in numbers, counted from its events. Outlets (progress, TensorBoard, what a process
// reports to the coordinator) read the snapshot.
// Thread safety: Metrics is a value; MetricsCounter may be called from any thread.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>

#include "common/clock.h"
#include "common/event.h"
#include "common/histogram.h"

namespace tutti {

struct Metrics {
  // Counters: they only grow.
  std::uint64_t iterations = 0;
  std::uint64_t steps = 0;    ///< optimizer steps that are over
  std::uint64_t samples = 0;  ///< of this rank
  std::uint64_t exchanges = 0;
  std::uint64_t buckets = 0;
  std::uint64_t chunks_sent = 0;
  std::uint64_t chunks_received = 0;
  std::uint64_t chunks_summed = 0;
  std::uint64_t bytes_sent = 0;          ///< of chunks
  std::uint64_t bytes_received = 0;      ///< of chunks
  std::uint64_t checkpoints = 0;         ///< that are on the disk
  std::uint64_t checkpoints_failed = 0;  ///< that could not be written, or were left out
  std::uint64_t members_lost = 0;
  std::uint64_t members_joined = 0;  ///< in the place of lost ones
  std::uint64_t steps_skipped = 0;
  std::uint64_t frames_refused = 0;
  Duration waited{};          ///< by the training thread, for the exchange
  Duration waited_through{};  ///< the same, up to the end of the last step
  Duration stalled{};         ///< the training thread, by checkpoints
  Duration between{};         ///< iterations, without what checkpoints took of it
  Duration trained{};         ///< from the first iteration to the end of the last one, or of the checkpoint after it
  Histogram step_time;        ///< from the end of a step to the end of the next
  Histogram exchange_time;    ///< from a step's first bucket on its way to its last result in place
  Histogram checkpoint_time;  ///< of writing one
  // Gauges: the last value.
  std::uint64_t step = 0;
  std::uint64_t steps_through = 0;    ///< of the run, from its first step to this process' last one
  std::uint64_t checkpoint_step = 0;  ///< of the last one on the disk
  std::uint32_t generation = 0;
  bool is_waiting = false;  ///< the training thread, for the exchange
};

class MetricsCounter final : public EventSink {
 public:
  void record(const Event& event) noexcept override;
  Metrics snapshot() const;

 private:
  void begin_iteration(TimePoint now) noexcept;
  void end_iteration(TimePoint now) noexcept;

  mutable std::mutex mutex_;
  // guarded by mutex_:
  Metrics metrics_;
  std::optional<TimePoint> wait_began_, exchange_began_, write_began_, step_ended_, first_iteration_;
  TimePoint stall_began_{}, iteration_ended_{};
  bool is_stalled_ = false;    // for a checkpoint
  Duration stalled_before_{};  // when the last iteration ended
};

}  // namespace tutti
