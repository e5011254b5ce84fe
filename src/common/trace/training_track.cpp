// SPDX-License-Identifier: Apache-2.0
#include "common/trace/training_track.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "common/control/cause.h"
#include "common/net/frame.h"

namespace tutti {
namespace {

constexpr Lane kMainLane{Lane::Kind::kMain, 0};

std::int64_t number_in(std::uint64_t number) {
  return static_cast<std::int64_t>(number);
}

std::string_view question_of(const Event& request) {
  switch (static_cast<FrameType>(request.bucket)) {
    case FrameType::kContribute:
      return "gather";
    case FrameType::kStoreRequest:
      return "store";
    case FrameType::kLeave:
      return "goodbye";
    default:
      return "question";
  }
}

std::string member_in(const Event& event) {
  return describe(MemberId{static_cast<Role>(event.object), event.rank});
}

/// Slices of one thread lie within each other; one of another thread that does not is cut.
void nest(std::vector<TraceSlice>& slices) {
  std::ranges::stable_sort(
      slices, {}, [](const TraceSlice& slice) { return std::tuple(slice.begin, -slice.end.time_since_epoch()); });
  std::vector<TimePoint> around;
  for (TraceSlice& slice : slices) {
    while (!around.empty() && around.back() <= slice.begin) around.pop_back();
    if (!around.empty()) slice.end = std::min(slice.end, around.back());
    around.push_back(slice.end);
  }
}

}  // namespace

void TrainingTrack::take(const Event& event) {
  last_ = event.time;
  switch (event.kind) {
    case EventKind::kIterationBegin:
      return begin_iteration(event);
    case EventKind::kIterationEnd:
      return end_iteration(event.time);
    case EventKind::kBackwardFirstHook:
      cut(event.time);
      if (phase_ == Phase::kAfter) phase_ = Phase::kForward;  // an iteration of several backwards
      end_phase(event.time);
      phase_ = Phase::kBackward;
      phase_begin_ = event.time;
      return;
    case EventKind::kBackwardLastHook:
      end_phase(event.time);
      return;
    case EventKind::kWaitBegin:
      return begin_wait(event);
    case EventKind::kWaitEnd:
      if (wait_) add("wait", "wait", wait_->time, event.time, {{"step", number_in(wait_->step)}});
      wait_.reset();
      phase_ = Phase::kAfter;
      phase_begin_ = event.time;
      return;
    case EventKind::kExchangeDone:
      phase_ = Phase::kAfter;
      phase_begin_ = event.time;
      if (!iteration_) flush();  // a loop of the program's own
      return;
    case EventKind::kRequestBegin:
      cut_request(event.time);
      request_ = event;
      return;
    case EventKind::kRequestEnd:
      if (request_) add("request", std::string(question_of(event)), request_->time, event.time, {});
      request_.reset();
      if (!iteration_) flush();
      return;
    case EventKind::kCheckpointBegin:
      stall_ = event;
      return;
    case EventKind::kCheckpointTaken:
      if (stall_) add("stall", "checkpoint stall", stall_->time, event.time, {{"step", number_in(event.step)}});
      stall_.reset();
      if (idle_) idle_ = event.time;
      return;
    case EventKind::kGenerationChanged:
      return regroup(event);
    case EventKind::kMemberJoined:
      // To the agent that starts it, it is of no generation yet.
      if (event.generation == 0) return tell(event, member_in(event) + " started", {});
      end_recovery(event.time);
      return tell(event, member_in(event) + " joined", {{"generation", event.generation}});
    case EventKind::kMemberLeft:
      return tell(event, member_in(event) + " left", {});
    case EventKind::kMemberLost:
      return tell(event, member_in(event) + " lost",
                  {{"step", number_in(event.step)}, {"wait_status", number_in(event.bytes)}});
    case EventKind::kStepSkipped:
      return tell(event, fmt::format("step {} skipped", event.step), {{"step", number_in(event.step)}});
    case EventKind::kRunEnded:
      cut(event.time);
      return tell(event, "run ended", {});
    case EventKind::kFrameRefused:
      return tell(event, "frame refused", {});
    default:
      return;
  }
}

void TrainingTrack::begin_iteration(const Event& event) {
  cut(event.time);
  if (iteration_) {  // one that an exception ended
    end_iteration(event.time);
    idle_.reset();
  }
  if (idle_) add("data", "data", *idle_, event.time, {});
  idle_.reset();
  iteration_ = event;
  phase_ = Phase::kForward;
  phase_begin_ = event.time;
}

void TrainingTrack::end_iteration(TimePoint now) {
  cut(now);
  // Where no gradient came there is nothing to tell forward from the rest.
  if (phase_ == Phase::kAfter) end_phase(now);
  phase_ = Phase::kNone;
  if (iteration_) {
    const std::uint64_t step = iteration_->step;
    add("step", fmt::format("step {}", step), iteration_->time, now,
        {{"step", number_in(step)}, {"generation", generation_}});
  }
  iteration_.reset();
  idle_ = now;
  flush();
}

void TrainingTrack::begin_wait(const Event& event) {
  cut(event.time);
  wait_ = event;
}

void TrainingTrack::end_phase(TimePoint now) {
  constexpr const char* names[] = {"", "forward", "backward", "optimizer"};
  if (phase_ != Phase::kNone && (iteration_ || phase_ == Phase::kBackward)) {
    const char* name = names[static_cast<int>(phase_)];
    add(name, name, phase_begin_, now,
        iteration_ ? TraceArguments{{"step", number_in(iteration_->step)}} : TraceArguments{});
  }
  phase_ = Phase::kNone;
}

void TrainingTrack::regroup(const Event& event) {
  cut(event.time);
  generation_ = event.generation;
  recovery_ = event.time;
  tell(event, fmt::format("generation {}", event.generation), {{"generation", event.generation}});
}

void TrainingTrack::cut(TimePoint now) {
  end_recovery(now);
  if (wait_) add("wait", "wait", wait_->time, now, {{"step", number_in(wait_->step)}, {"cut", 1}});
  wait_.reset();
  cut_request(now);
}

void TrainingTrack::cut_request(TimePoint now) {
  if (request_) add("request", std::string(question_of(*request_)), request_->time, now, {{"cut", 1}});
  request_.reset();
}

void TrainingTrack::end_recovery(TimePoint now) {
  if (recovery_) add("recovery", "recovery", *recovery_, now, {{"generation", generation_}});
  recovery_.reset();
}

void TrainingTrack::add(std::string_view category, std::string name, TimePoint begin, TimePoint end,
                        TraceArguments arguments) {
  slices_.push_back({kMainLane, category, std::move(name), begin, std::max(begin, end), std::move(arguments)});
}

void TrainingTrack::tell(const Event& event, std::string name, TraceArguments arguments) {
  sink_.moment({kMainLane, name_of(event.kind), std::move(name), event.time, std::move(arguments)});
}

void TrainingTrack::flush() {
  nest(slices_);
  for (const TraceSlice& slice : slices_) sink_.slice(slice);
  slices_.clear();
}

void TrainingTrack::end() {
  const std::size_t finished = slices_.size();
  if (stall_) add("stall", "checkpoint stall", stall_->time, last_, {{"step", number_in(stall_->step)}});
  if (phase_ != Phase::kNone) end_phase(last_);
  cut(last_);
  if (iteration_) {
    add("step", fmt::format("step {}", iteration_->step), iteration_->time, last_,
        {{"step", number_in(iteration_->step)}, {"generation", generation_}});
  }
  for (std::size_t i = finished; i < slices_.size(); ++i) slices_[i].arguments.emplace_back("unfinished", 1);
  flush();
}

}  // namespace tutti
