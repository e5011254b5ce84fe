// SPDX-License-Identifier: Apache-2.0
#include "common/whereabouts.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "common/control/cause.h"
#include "common/net/frame.h"

namespace tutti {
namespace {

using Doing = Whereabouts::Doing;

/// Follows the events one by one; what has begun and not ended is what the process is in.
class Follower {
 public:
  void take(const Event& event);
  Whereabouts place() const;

 private:
  void take_bucket(const Event& event);

  Whereabouts place_;
  bool any_ = false;
  std::optional<Event> wait_, request_, checkpoint_;
  std::vector<Event> started_;  // buckets that are on their way, in the order of their starts
};

void Follower::take_bucket(const Event& event) {
  if (event.kind == EventKind::kBucketStarted) started_.push_back(event);
  if (event.kind == EventKind::kExchangeDone) {
    std::erase_if(started_, [&](const Event& bucket) { return bucket.object == event.object; });
  }
  if (event.kind != EventKind::kBucketDone) return;
  std::erase_if(started_,
                [&](const Event& bucket) { return bucket.object == event.object && bucket.bucket == event.bucket; });
  place_.done = event;
}

void Follower::take(const Event& event) {
  any_ = true;
  place_.last = event;
  switch (event.kind) {
    case EventKind::kWaitBegin:
      wait_ = event;
      break;
    case EventKind::kWaitEnd:
      wait_.reset();
      break;
    case EventKind::kRequestBegin:
      request_ = event;
      break;
    case EventKind::kRequestEnd:
      request_.reset();
      break;
    case EventKind::kCheckpointBegin:
      checkpoint_ = event;
      break;
    case EventKind::kCheckpointTaken:  // the rest goes on beside the training
      checkpoint_.reset();
      break;
    case EventKind::kIterationBegin:
      wait_.reset();  // one that failed, and the program went on
      request_.reset();
      break;
    case EventKind::kIterationEnd:
      place_.step = event.step;
      break;
    default:
      take_bucket(event);
  }
}

Whereabouts Follower::place() const {
  Whereabouts place = place_;
  if (!any_) return place;
  place.doing = Doing::kWorking;
  place.since = place.last.time;
  const auto is_in = [&](Doing doing, const std::optional<Event>& begin) {
    if (!begin) return;
    place.doing = doing;
    place.since = begin->time;
    place.object = begin->object;
    place.request = begin->bucket;
  };
  is_in(Doing::kSaving, checkpoint_);  // a question within a checkpoint is what it waits for
  is_in(Doing::kWaiting, wait_);
  is_in(Doing::kAsking, request_);
  if (place.doing != Doing::kWaiting) return place;
  const auto first = std::ranges::find_if(started_, [&](const Event& bucket) { return bucket.object == place.object; });
  if (first != started_.end()) place.bucket = first->bucket;
  return place;
}

std::string asked_for(std::uint32_t request) {
  switch (static_cast<FrameType>(request)) {
    case FrameType::kContribute:
      return "all ranks";
    case FrameType::kStoreRequest:
      return "a key of the run's store";
    case FrameType::kLeave:
      return "everybody's goodbye";
    default:
      return "the coordinator";
  }
}

}  // namespace

Whereabouts locate(const Recording& recording) {
  Follower follower;
  std::optional<TimePoint> told;
  for (const Event& event : recording.events) {
    if (event.kind == EventKind::kRunEnded) {
      told = event.time;
      break;
    }
    follower.take(event);
  }
  Whereabouts place = follower.place();
  if (place.doing == Doing::kNothing) place.since = recording.started;
  place.told_of_end = told;
  return place;
}

std::string describe(const Event& event) {
  const std::string_view name = name_of(event.kind);
  switch (event.kind) {
    case EventKind::kBucketReady:
    case EventKind::kBucketStarted:
    case EventKind::kBucketDone:
    case EventKind::kChunkSent:
    case EventKind::kChunkReceived:
    case EventKind::kChunkSummed:
    case EventKind::kPushStarted:
    case EventKind::kResultArriving:
    case EventKind::kPushArrived:
      return fmt::format("{} {}", name, event.bucket);
    case EventKind::kMemberJoined:
    case EventKind::kMemberLeft:
    case EventKind::kMemberLost:
      return fmt::format("{} {}", name, describe(MemberId{static_cast<Role>(event.object), event.rank}));
    case EventKind::kRequestBegin:
    case EventKind::kRequestEnd:
    case EventKind::kFrameRefused:
    case EventKind::kRunEnded:
      return std::string(name);
    case EventKind::kGenerationChanged:
      return fmt::format("{} {}", name, event.generation);
    default:
      return fmt::format("{} {}", name, event.step);
  }
}

std::string awaited(const Whereabouts& place) {
  if (place.doing == Doing::kAsking) return asked_for(place.request);
  if (place.doing != Doing::kWaiting) return "";
  if (!place.bucket) return "its exchange";
  const std::string model = place.object == 0 ? "" : fmt::format(" of model {}", place.object);
  return fmt::format("bucket {}{}", *place.bucket, model);
}

std::string describe(const Whereabouts& place, TimePoint now) {
  const double time = to_seconds(now - place.since);
  switch (place.doing) {
    case Doing::kNothing:
      return "";
    case Doing::kWorking:
      return fmt::format("{:.3f} s after {}", time, describe(place.last));
    case Doing::kSaving:
      return fmt::format("had been saving a checkpoint for {:.3f} s", time);
    case Doing::kWaiting:
    case Doing::kAsking:
      break;
  }
  return fmt::format("had waited {:.3f} s for {}", time, awaited(place));
}

}  // namespace tutti
