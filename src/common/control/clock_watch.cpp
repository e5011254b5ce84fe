// SPDX-License-Identifier: Apache-2.0
#include "common/control/clock_watch.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "common/net/later.h"

namespace tutti {
namespace {

constexpr int kQuestions = 8;
constexpr Duration kFirstPause = std::chrono::seconds(1);
constexpr Duration kLongestPause = std::chrono::minutes(1);

std::uint64_t count_of(TimePoint time) {
  return static_cast<std::uint64_t>(time.time_since_epoch().count());
}

}  // namespace

ClockWatch::ClockWatch(Loop& loop, std::int32_t rank, EventSink& trace, Ask ask)
    : loop_(loop), rank_(rank), trace_(trace), ask_(std::move(ask)), pause_(kFirstPause) {}

// The next look does not wait for the answers of this one, which a broken connection may keep back.
void ClockWatch::begin() {
  look();
  later(loop_.context(), pause_, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->begin();
  });
  pause_ = std::min(2 * pause_, kLongestPause);
}

void ClockWatch::look() {
  answers_ = 0;
  best_.reset();
  ask();
}

void ClockWatch::ask() {
  asked_ = clock_.now();
  ask_({count_of(asked_)});
}

// Where half the round trip is the way there, the answer is of the middle.
void ClockWatch::take(const ClockAnswer& answer) {
  if (answer.sent_ns != count_of(asked_)) return;  // of an older look
  const TimePoint now = clock_.now();
  const auto round_trip = static_cast<std::uint64_t>((now - asked_).count());
  if (!best_ || round_trip < best_->step) {
    const std::uint64_t middle = answer.sent_ns + round_trip / 2;
    best_ = Event{.time = now,
                  .kind = EventKind::kClockOffset,
                  .rank = rank_,
                  .step = round_trip,
                  .bytes = answer.now_ns - middle};
  }
  if (++answers_ < kQuestions) return ask();
  trace_.record(*best_);
  best_.reset();
}

}  // namespace tutti
