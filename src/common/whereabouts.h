// SPDX-License-Identifier: Apache-2.0
// What a process was doing when its recording ends, and the words for it: the line of cause and `tutti explain` are
// made of these. Thread safety: values and functions without state.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "common/clock.h"
#include "common/event.h"
#include "common/recording.h"

namespace tutti {

struct Whereabouts {
  enum class Doing {
    kNothing,  ///< no event was recorded
    kWorking,  ///< something of its own
    kWaiting,  ///< for the exchange of its gradients
    kAsking,   ///< for the coordinator's answer
    kSaving,   ///< a checkpoint
  };
  Doing doing = Doing::kNothing;
  TimePoint since{};          ///< the wait, question or checkpoint began; when kWorking, the last event; else its start
  Event last{};               ///< the last one but for what followed from the end of the run
  std::uint32_t request = 0;  ///< kAsking: the question's FrameType
  std::uint32_t object = 0;   ///< kWaiting: which DataParallel
  std::optional<std::uint32_t> bucket;   ///< kWaiting: the first that was started and is not done
  std::optional<std::uint64_t> step;     ///< the last that was finished
  std::optional<Event> done;             ///< the last bucket whose result came
  std::optional<TimePoint> told_of_end;  ///< when it was told that the run is over
};

/// What comes after the run's end was told is left out: it follows from that.
Whereabouts locate(const Recording& recording);

/// "bucket_ready 3", "iteration_begin 37", "member_lost rank 1": the event and what of it matters.
std::string describe(const Event& event);
/// "bucket 3", "all ranks", ...; empty where it waits for nobody.
std::string awaited(const Whereabouts& place);
/// "had waited 1.204 s for bucket 3", "0.012 s after bucket_ready 3"; empty for kNothing.
std::string describe(const Whereabouts& place, TimePoint now);

}  // namespace tutti
