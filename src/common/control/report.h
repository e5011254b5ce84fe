// SPDX-License-Identifier: Apache-2.0
// What each process of a run tells the coordinator about itself, about once a second where somebody looks: its numbers,
// what it uses, and what the program logged since the last time. It decides nothing: a report that is lost is missed by
// nobody, and what is watched is never asked for.
// Thread safety: values.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "common/bounded_archive.h"
#include "common/metrics.h"
#include "common/usage.h"

namespace tutti {

/// How far rank 0 is in its data; nothing is known where `steps` is 0.
struct RunPosition {
  std::int64_t epoch = 0;  ///< from 0
  std::int64_t epochs = 0;
  std::int64_t step = 0;  ///< that are done
  std::int64_t steps = 0;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(epoch, epochs, step, steps);
  }
};

/// A number that the program logged.
struct LoggedValue {
  std::string name;
  std::int64_t step = 0;  ///< the first is 1
  std::int64_t age_ns = 0;
  double value = 0;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(name, step, age_ns, value);
  }
};

/// kReport
struct Report {
  Metrics metrics;
  Usage usage;
  RunPosition position;
  std::vector<LoggedValue> values;  ///< in the order they were logged
  template <class Archive>
  void serialize(Archive& archive) {
    archive(metrics, usage, position, values);
  }
};

template <class Archive>
void serialize(Archive& archive, Histogram& histogram) {
  std::int64_t sum_ns = histogram.sum.count();
  archive(histogram.counts, sum_ns);
  histogram.sum = Duration(sum_ns);
}

// What stays within the process is left out.
template <class Archive>
void serialize(Archive& archive, Metrics& metrics) {
  Duration* const times[] = {&metrics.waited, &metrics.waited_through, &metrics.stalled, &metrics.between,
                             &metrics.trained};
  for (Duration* time : times) {
    std::int64_t ns = time->count();
    archive(ns);
    *time = Duration(ns);
  }
  archive(metrics.iterations, metrics.steps, metrics.steps_through, metrics.samples, metrics.bytes_sent,
          metrics.bytes_received, metrics.checkpoints, metrics.checkpoints_failed, metrics.steps_skipped,
          metrics.frames_refused, metrics.step_time, metrics.exchange_time, metrics.checkpoint_time, metrics.step,
          metrics.checkpoint_step, metrics.is_waiting);
}

}  // namespace tutti
