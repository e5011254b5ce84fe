// SPDX-License-Identifier: Apache-2.0
// From the events of one process to what a person sees of it: slices of time on lanes, moments, and what of another
// process they are connected with. A lane's slices lie side by side or within each other, never across.
// Thread safety: one thread.
#pragma once

#include <compare>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/event.h"
#include "common/net/handshake_fsm.h"

namespace tutti {

struct Lane {
  enum class Kind { kMain, kCheckpoint, kExchange, kPush, kPull, kSum };
  Kind kind = Kind::kMain;
  int number = 0;  ///< what overlaps lies on lanes of other numbers
  auto operator<=>(const Lane&) const = default;
};

/// An arrow's place in a slice: it begins in a push, goes on in the sum and ends in the pull.
struct FlowPoint {
  enum class Kind { kBegin, kStep, kEnd };
  Kind kind = Kind::kBegin;
  std::uint64_t id = 0;
};
/// The same for the push of a chunk by `rank`, for the sum it went into and for the pull of its result.
std::uint64_t flow_id(const Event& chunk, std::int32_t rank) noexcept;

using TraceArguments = std::vector<std::pair<std::string_view, std::int64_t>>;

struct TraceSlice {
  Lane lane;
  std::string_view category;  ///< "step", "forward", "push": the same for all of a kind
  std::string name;           ///< "step 12", "forward", "push 3"
  TimePoint begin{};
  TimePoint end{};
  TraceArguments arguments = {};
  std::vector<FlowPoint> flows = {};
};

struct TraceMoment {
  Lane lane;
  std::string_view category;
  std::string name;
  TimePoint time{};
  TraceArguments arguments = {};
};

/// Takes them in any order, but a slice before those that lie within it.
class TimelineSink {
 public:
  virtual ~TimelineSink() = default;
  virtual void slice(const TraceSlice& slice) = 0;
  virtual void moment(const TraceMoment& moment) = 0;
};

class Timeline {
 public:
  virtual ~Timeline() = default;
  /// In the order of their times.
  virtual void take(const Event& event) = 0;
  /// There are no more: what has not ended ends with the last event, and says so ("unfinished").
  virtual void end() = 0;
};

/// `sink` outlives it.
std::unique_ptr<Timeline> make_timeline(Role role, std::uint32_t generation, TimelineSink& sink);

}  // namespace tutti
