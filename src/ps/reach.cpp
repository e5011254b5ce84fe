// SPDX-License-Identifier: Apache-2.0
#include "ps/reach.h"

#include <utility>

namespace tutti::ps {

Reach::Reach(boost::asio::io_context& context, const Clock& clock, Duration timeout, TellUnreachable tell)
    : timer_(context), clock_(clock), timeout_(timeout), tell_(std::move(tell)) {}

void Reach::begin_generation(std::uint32_t generation) {
  generation_ = generation;
  heard_.clear();
}

void Reach::lost(const MemberId& peer, TimePoint heard) {
  if (timeout_ == Duration::zero() || !tell_) return;
  heard_.try_emplace(peer, heard);
  if (!std::exchange(is_looking_, true)) look();
}

void Reach::found(const MemberId& peer) {
  heard_.erase(peer);
}

void Reach::end() {
  tell_ = nullptr;
  timer_.cancel();
}

// When the last one was found that is told once, too.
void Reach::look() {
  Unreachable message;
  const TimePoint now = clock_.now();
  for (const auto& [peer, heard] : heard_) {
    if (now - heard < timeout_ / 2) continue;
    message.peers.push_back({peer, static_cast<std::uint64_t>((now - heard).count())});
  }
  if (!message.peers.empty() || has_told_) tell_(generation_, message);
  has_told_ = !message.peers.empty();
  is_looking_ = !heard_.empty() || has_told_;
  if (!is_looking_) return;
  timer_.expires_after(timeout_ / 12);
  timer_.async_wait([weak = weak_from_this()](boost::system::error_code error) {
    const auto self = weak.lock();
    if (!error && self && self->tell_) self->look();
  });
}

}  // namespace tutti::ps
