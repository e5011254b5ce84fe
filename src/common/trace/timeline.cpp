// SPDX-License-Identifier: Apache-2.0
#include "common/trace/timeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "common/trace/exchange_track.h"
#include "common/trace/training_track.h"

namespace tutti {
namespace {

// A repeat of a push whose sum was made long ago waits for nothing.
constexpr std::size_t kSetsMax = 1 << 16;

/// The writing of checkpoints, beside the training.
class CheckpointTrack {
 public:
  explicit CheckpointTrack(TimelineSink& sink) : sink_(sink) {}

  void take(const Event& event) {
    last_ = event.time;
    if (event.kind == EventKind::kCheckpointBegin) begun_ = event;
    // Without its begin it was left out, or is on the disk already.
    if (event.kind == EventKind::kCheckpointTaken && begun_) writing_ = event;
    if (event.kind == EventKind::kCheckpointTaken) begun_.reset();
    if (event.kind == EventKind::kCheckpointEnd || event.kind == EventKind::kCheckpointFailed) finish(event);
  }

  void end() {
    if (writing_) tell(*writing_, last_, {{"step", step_of(*writing_)}, {"unfinished", 1}});
  }

 private:
  static std::int64_t step_of(const Event& event) { return static_cast<std::int64_t>(event.step); }

  void finish(const Event& event) {
    const bool is_written = event.kind == EventKind::kCheckpointEnd;
    const auto is_of_it = [&](const std::optional<Event>& begin) { return begin && begin->step == event.step; };
    std::optional<Event>& begin = is_of_it(begun_) ? begun_ : writing_;
    if (is_of_it(begin) && (is_written || begin->kind == EventKind::kCheckpointTaken)) {
      TraceArguments arguments = {{"step", step_of(event)}, {"bytes", static_cast<std::int64_t>(event.bytes)}};
      if (!is_written) arguments.emplace_back("failed", 1);
      tell(*begin, event.time, std::move(arguments));
    } else {
      sink_.moment({kLane,
                    "checkpoint",
                    is_written ? "checkpoint written" : "checkpoint left out",
                    event.time,
                    {{"step", step_of(event)}}});
    }
    if (is_of_it(begin)) begin.reset();
  }

  void tell(const Event& begin, TimePoint end, TraceArguments arguments) {
    sink_.slice({kLane, "checkpoint", "checkpoint write", begin.time, end, std::move(arguments)});
  }

  static constexpr Lane kLane{Lane::Kind::kCheckpoint, 0};
  TimelineSink& sink_;
  std::optional<Event> begun_, writing_;
  TimePoint last_{};
};

/// A shard's sums, each from the arrival of its last contribution.
class SumTrack {
 public:
  explicit SumTrack(TimelineSink& sink) : sink_(sink) {}

  void take(const Event& event) {
    if (event.kind == EventKind::kPushArrived) {
      auto& arrived = sets_[key_of(event)];
      std::erase_if(arrived, [&](const Event& push) { return push.rank == event.rank; });
      arrived.push_back(event);
      if (sets_.size() > kSetsMax) sets_.erase(sets_.begin());
    }
    if (event.kind == EventKind::kChunkSummed) finish(event);
  }

 private:
  using Key = std::tuple<std::uint32_t, std::uint64_t, std::uint16_t, std::uint32_t, std::uint32_t>;
  static Key key_of(const Event& event) {
    return {event.generation, event.step, event.exchange, event.object, event.bucket};
  }

  void finish(const Event& summed) {
    const auto found = sets_.find(key_of(summed));
    if (found == sets_.end()) return;
    const std::vector<Event>& pushes = found->second;
    TraceSlice slice{
        {Lane::Kind::kSum, 0}, "sum", fmt::format("sum {}", summed.bucket), pushes.back().time, summed.time};
    slice.arguments = {{"chunk", summed.bucket},
                       {"object", summed.object},
                       {"bytes", static_cast<std::int64_t>(summed.bytes)},
                       {"step", static_cast<std::int64_t>(summed.step)},
                       {"generation", summed.generation},
                       {"last_rank", pushes.back().rank},
                       {"waited_us", (pushes.back().time - pushes.front().time) / std::chrono::microseconds(1)}};
    for (const Event& push : pushes) slice.flows.push_back({FlowPoint::Kind::kStep, flow_id(summed, push.rank)});
    sink_.slice(slice);
    sets_.erase(found);
  }

  TimelineSink& sink_;
  std::map<Key, std::vector<Event>> sets_;  // in the order of arrival
};

class WorkerTimeline final : public Timeline {
 public:
  WorkerTimeline(std::uint32_t generation, TimelineSink& sink)
      : training_(generation, sink), exchange_(generation, sink), checkpoints_(sink) {}
  void take(const Event& event) override {
    training_.take(event);
    exchange_.take(event);
    checkpoints_.take(event);
  }
  void end() override {
    training_.end();
    exchange_.end();
    checkpoints_.end();
  }

 private:
  TrainingTrack training_;
  ExchangeTrack exchange_;
  CheckpointTrack checkpoints_;
};

/// A shard's, or an agent's, which has no sums.
class ServingTimeline final : public Timeline {
 public:
  ServingTimeline(std::uint32_t generation, TimelineSink& sink) : main_(generation, sink), sums_(sink) {}
  void take(const Event& event) override {
    main_.take(event);
    sums_.take(event);
  }
  void end() override { main_.end(); }

 private:
  TrainingTrack main_;
  SumTrack sums_;
};

}  // namespace

// Multiplied by odd numbers, so that what differs in one of them differs.
std::uint64_t flow_id(const Event& chunk, std::int32_t rank) noexcept {
  std::uint64_t id = 0x7475747469666c77;
  for (const std::uint64_t part :
       {std::uint64_t{chunk.generation}, chunk.step, std::uint64_t{chunk.exchange}, std::uint64_t{chunk.object},
        std::uint64_t{chunk.bucket}, static_cast<std::uint64_t>(rank)}) {
    id = (id ^ part) * 0x9e3779b97f4a7c15;
    id ^= id >> 32;
  }
  return id;
}

std::unique_ptr<Timeline> make_timeline(Role role, std::uint32_t generation, TimelineSink& sink) {
  if (role == Role::kWorker) return std::make_unique<WorkerTimeline>(generation, sink);
  return std::make_unique<ServingTimeline>(generation, sink);
}

}  // namespace tutti
