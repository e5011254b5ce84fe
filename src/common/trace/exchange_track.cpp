// SPDX-License-Identifier: Apache-2.0
#include "common/trace/exchange_track.h"

#include <fmt/format.h>

namespace tutti {
namespace {

TraceArguments arguments_of_bucket(const Event& begin, std::uint32_t generation, std::uint64_t bytes) {
  TraceArguments arguments = {{"bucket", begin.bucket},
                              {"object", begin.object},
                              {"step", static_cast<std::int64_t>(begin.step)},
                              {"generation", generation}};
  if (bytes > 0) arguments.emplace_back("bytes", static_cast<std::int64_t>(bytes));
  return arguments;
}

TraceArguments arguments_of_chunk(const Event& event) {
  return {{"chunk", event.bucket},
          {"object", event.object},
          {"bytes", static_cast<std::int64_t>(event.bytes)},
          {"step", static_cast<std::int64_t>(event.step)},
          {"generation", event.generation}};
}

}  // namespace

void ExchangeTrack::take(const Event& event) {
  last_ = event.time;
  const Key key{event.object, event.bucket};
  switch (event.kind) {
    case EventKind::kBucketReady:
      if (buckets_.contains(key)) return;  // the client of a parameter server has it now
      return sink_.moment({{Lane::Kind::kExchange, 0},
                           "ready",
                           fmt::format("bucket {} ready", event.bucket),
                           event.time,
                           {{"bucket", event.bucket}, {"step", static_cast<std::int64_t>(event.step)}}});
    case EventKind::kBucketStarted:
      end_bucket(key, event.time, 0, "cut");
      return buckets_.begin(key, event);
    case EventKind::kBucketDone:
      return end_bucket(key, event.time, event.bytes);
    case EventKind::kExchangeDone:
      for (const Key& bucket : buckets_.keys()) {
        if (bucket.first == event.object) end_bucket(bucket, event.time, 0);
      }
      return;
    case EventKind::kPushStarted:
      end_push(key, event.time, "cut");
      return pushes_.begin(key, event);
    case EventKind::kChunkSent:
      return end_push(key, event.time);
    case EventKind::kResultArriving:
      drop_pull(key, event.time, "cut");
      return pulls_.begin(key, event);
    case EventKind::kChunkReceived:
      end_push(key, event.time);
      return end_pull(event);
    case EventKind::kGenerationChanged:
      end_all(event.time, "cut");
      generation_ = event.generation;
      return;
    default:
      return;
  }
}

void ExchangeTrack::end_bucket(const Key& key, TimePoint now, std::uint64_t bytes, std::string_view how) {
  const auto ended = buckets_.end(key);
  if (!ended) return;
  TraceSlice slice{{Lane::Kind::kExchange, ended->lane},
                   "bucket",
                   fmt::format("bucket {}", key.second),
                   ended->begin.time,
                   now,
                   arguments_of_bucket(ended->begin, generation_, bytes)};
  if (!how.empty()) slice.arguments.emplace_back(how, 1);
  sink_.slice(slice);
}

void ExchangeTrack::end_push(const Key& key, TimePoint now, std::string_view how) {
  const auto ended = pushes_.end(key);
  if (!ended) return;
  const Event& begin = ended->begin;
  TraceSlice slice{{Lane::Kind::kPush, ended->lane}, "push", fmt::format("push {}", key.second), begin.time, now,
                   arguments_of_chunk(begin)};
  if (how.empty())
    slice.flows = {{FlowPoint::Kind::kBegin, flow_id(begin, begin.rank)}};
  else
    slice.arguments.emplace_back(how, 1);
  sink_.slice(slice);
}

// In memory that both sides share there are no bytes whose header would come before them.
void ExchangeTrack::end_pull(const Event& received) {
  const Key key{received.object, received.bucket};
  auto ended = pulls_.end(key);
  if (!ended) {
    pulls_.begin(key, received);
    ended = pulls_.end(key);
  }
  sink_.slice({{Lane::Kind::kPull, ended->lane},
               "pull",
               fmt::format("pull {}", received.bucket),
               ended->begin.time,
               received.time,
               arguments_of_chunk(received),
               {{FlowPoint::Kind::kEnd, flow_id(received, received.rank)}}});
}

void ExchangeTrack::drop_pull(const Key& key, TimePoint now, std::string_view how) {
  const auto ended = pulls_.end(key);
  if (!ended) return;
  TraceSlice slice{{Lane::Kind::kPull, ended->lane}, "pull", fmt::format("pull {}", key.second), ended->begin.time, now,
                   arguments_of_chunk(ended->begin)};
  slice.arguments.emplace_back(how, 1);
  sink_.slice(slice);
}

void ExchangeTrack::end_all(TimePoint now, std::string_view how) {
  for (const Key& key : buckets_.keys()) end_bucket(key, now, 0, how);
  for (const Key& key : pushes_.keys()) end_push(key, now, how);
  for (const Key& key : pulls_.keys()) drop_pull(key, now, how);
}

void ExchangeTrack::end() {
  end_all(last_, "unfinished");
}

}  // namespace tutti
