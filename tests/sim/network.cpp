// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/network.h"

#include <algorithm>

#include "tests/sim/world.h"

namespace tutti::sim {
namespace {

constexpr Duration kWithinHost = std::chrono::microseconds(50);
constexpr Duration kResendAfter = std::chrono::milliseconds(200);
constexpr int kResendsMax = 5;
// A frame comes in so many pieces at most.
constexpr int kPiecesMax = 3;
// Handshakes are over by then; a bit that flips in one is told by no checksum, and refused like a stranger.
constexpr Duration kAfterHandshake = std::chrono::seconds(2);

Plane plane_of(Port port) {
  return port == kCoordinatorPort ? Plane::kControl : Plane::kData;
}

Failure cut_off() {
  return fail(Errc::kPeerLost, "the connection broke");
}

}  // namespace

Duration Network::delay(int from_host, int to_host, Plane plane) {
  if (from_host == to_host) return kWithinHost;
  const Settings& settings = world_.settings();
  Draw& draw = world_.draw();
  Duration delay =
      Duration(static_cast<std::int64_t>(draw.real(0.1, 1.9) * static_cast<double>(settings.delay.count())));
  Duration resend = kResendAfter;
  for (int i = 0; i < kResendsMax && draw.chance(world_.loss()); ++i, resend *= 2) delay += resend;
  const auto path = paths_.find({from_host, to_host, plane});
  if (path != paths_.end() && world_.now() < path->second.clogged_until) delay += path->second.clogged_by;
  return delay;
}

void Network::listen(Process& process, Port port, OnAccept on_accept) {
  listeners_[port] = {process.id(), process.host(), std::move(on_accept)};
}

void Network::connect(Process& from, Port to, const std::shared_ptr<Receiver>& receiver) {
  knock(from.id(), from.host(), to, receiver);
}

// A knock that does not get through is made again, until the one who knocks has given up.
void Network::knock(Process::Id from, int from_host, Port to, const std::shared_ptr<Receiver>& receiver) {
  const auto found = listeners_.find(to);
  const int to_host = found == listeners_.end() ? from_host : found->second.host;
  const Plane plane = plane_of(to);
  const Duration there = delay(from_host, to_host, plane);
  world_.after(there, [this, from, from_host, to, to_host, plane, there, weak = std::weak_ptr(receiver)] {
    const auto receiver = weak.lock();
    if (!receiver) return;
    const TimePoint blocked =
        std::max(paths_[{from_host, to_host, plane}].blocked_until, paths_[{to_host, from_host, plane}].blocked_until);
    if (world_.now() < blocked) {
      return world_.after(std::max<Duration>(kResendAfter, blocked - world_.now()), [this, from, from_host, to, weak] {
        if (const auto again = weak.lock()) knock(from, from_host, to, again);
      });
    }
    const auto listener = listeners_.find(to);
    if (listener == listeners_.end()) {
      return answer(from, there, [weak] {
        if (const auto r = weak.lock()) r->on_cut(fail(Errc::kUnavailable, "nobody listens there"));
      });
    }
    const int number = next_pipe_++;
    Pipe& pipe = pipes_[number];
    pipe.plane = plane;
    pipe.since = world_.now();
    pipe.sides[0] = {from, from_host, receiver, {}};
    pipe.sides[1] = {listener->second.process, listener->second.host, {}, {}};
    // Accepted when the process runs; the other side knows after the way back, and sends no byte before.
    world_.run(listener->second.process, [this, number, on_accept = listener->second.on_accept] {
      const auto found = pipes_.find(number);
      if (found != pipes_.end()) found->second.sides[1].receiver = on_accept({number, 1});
    });
    answer(from, there, [weak, number] {
      if (const auto r = weak.lock()) r->on_connected({number, 0});
    });
  });
}

void Network::answer(Process::Id process, Duration delay, std::function<void()> f) {
  world_.after(delay, [this, process, f = std::move(f)] { world_.run(process, f); });
}

void Network::send(End from, std::vector<std::byte> bytes) {
  const auto found = pipes_.find(from.pipe);
  if (found == pipes_.end()) return;
  const int to = 1 - from.side;
  if (found->second.sides[to].incoming.ended) return;
  Draw& draw = world_.draw();
  int pieces = draw.between(1, kPiecesMax);
  for (std::size_t at = 0; at < bytes.size(); --pieces) {
    const std::size_t left = bytes.size() - at;
    const std::size_t size = pieces <= 1 ? left : 1 + draw.below(left);
    const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(at);
    push(from.pipe, to, {{begin, begin + static_cast<std::ptrdiff_t>(size)}, false});
    at += size;
  }
}

void Network::push(int number, int side, Segment segment) {
  Pipe& pipe = pipes_.at(number);
  Direction& direction = pipe.sides[side].incoming;
  direction.ended = direction.ended || segment.is_end;
  direction.on_its_way.push_back(std::move(segment));
  const TimePoint arrival = world_.now() + delay(pipe.sides[1 - side].host, pipe.sides[side].host, pipe.plane);
  direction.last = std::max(direction.last, arrival);
  world_.at(direction.last, [this, number, side] { arrive(number, side); });
}

void Network::arrive(int number, int to) {
  const auto found = pipes_.find(number);
  if (found == pipes_.end()) return;
  Pipe& pipe = found->second;
  Side& side = pipe.sides[to];
  if (side.incoming.on_its_way.empty()) return;  // it was cut off
  const TimePoint blocked = paths_[{pipe.sides[1 - to].host, side.host, pipe.plane}].blocked_until;
  if (world_.now() < blocked) {
    side.incoming.last = std::max(side.incoming.last, blocked);
    return world_.at(blocked, [this, number, to] { arrive(number, to); });
  }
  Segment segment = std::move(side.incoming.on_its_way.front());
  side.incoming.on_its_way.pop_front();
  world_.run(side.process, [this, number, to, segment = std::move(segment)] {
    const auto pipe = pipes_.find(number);
    const auto receiver = pipe == pipes_.end() ? nullptr : pipe->second.sides[to].receiver.lock();
    if (segment.is_end) {
      if (pipe != pipes_.end()) leave(number, to);
      if (receiver) receiver->on_cut(cut_off());
    } else if (receiver) {
      receiver->on_bytes(segment.bytes);
    }
  });
}

// Gone when neither side is told anything any more.
void Network::leave(int number, int side) {
  Pipe& pipe = pipes_.at(number);
  pipe.sides[side].has_left = true;
  if (pipe.sides[1 - side].has_left) pipes_.erase(number);
}

void Network::close(End end) {
  const auto found = pipes_.find(end.pipe);
  if (found == pipes_.end()) return;
  Pipe& pipe = found->second;
  pipe.sides[end.side].receiver.reset();
  pipe.sides[end.side].incoming.ended = true;
  pipe.sides[end.side].incoming.on_its_way.clear();
  if (!pipe.sides[1 - end.side].incoming.ended) push(end.pipe, 1 - end.side, {{}, true});
  leave(end.pipe, end.side);
}

void Network::lose_tail(Direction& direction) {
  Draw& draw = world_.draw();
  direction.on_its_way.resize(draw.below(direction.on_its_way.size() + 1));
  if (direction.on_its_way.empty()) return;
  auto& last = direction.on_its_way.back().bytes;
  last.resize(draw.below(last.size() + 1));
}

void Network::abandon(const Process& process) {
  std::erase_if(listeners_, [&](const auto& entry) { return entry.second.process == process.id(); });
  for (auto& [number, pipe] : pipes_) {
    for (int side = 0; side < 2; ++side) {
      if (pipe.sides[side].process != process.id()) continue;
      pipe.sides[side].has_left = true;
      pipe.sides[side].incoming.ended = true;
      pipe.sides[side].incoming.on_its_way.clear();
      Direction& outgoing = pipe.sides[1 - side].incoming;
      if (outgoing.ended) continue;
      lose_tail(outgoing);
      push(number, 1 - side, {{}, true});
    }
  }
  std::erase_if(pipes_,
                [](const auto& entry) { return entry.second.sides[0].has_left && entry.second.sides[1].has_left; });
}

void Network::cut(End end) {
  const auto found = pipes_.find(end.pipe);
  if (found == pipes_.end()) return;
  Pipe& pipe = found->second;
  for (int side = 0; side < 2; ++side) {
    if (pipe.sides[side].incoming.ended) continue;
    lose_tail(pipe.sides[side].incoming);
    push(end.pipe, side, {{}, true});
  }
}

std::vector<int> Network::pipes_between_hosts(bool with_bytes) const {
  std::vector<int> numbers;
  for (const auto& [number, pipe] : pipes_) {
    const bool has_bytes = std::ranges::any_of(pipe.sides, [](const Side& side) {
      return !side.incoming.on_its_way.empty() && !side.incoming.on_its_way.front().bytes.empty();
    });
    const bool is_open = !pipe.sides[0].incoming.ended && !pipe.sides[1].incoming.ended;
    if (is_open && pipe.sides[0].host != pipe.sides[1].host && (has_bytes || !with_bytes)) numbers.push_back(number);
  }
  return numbers;
}

bool Network::cut_one() {
  std::vector<int> numbers = pipes_between_hosts(false);
  if (numbers.empty()) return false;
  cut(End{world_.draw().from(numbers), 0});
  return true;
}

bool Network::flip_one() {
  std::vector<int> numbers = pipes_between_hosts(true);
  std::erase_if(numbers, [this](int number) { return world_.now() < pipes_.at(number).since + kAfterHandshake; });
  if (numbers.empty()) return false;
  for (Side& side : pipes_.at(world_.draw().from(numbers)).sides) {
    if (side.incoming.on_its_way.empty() || side.incoming.on_its_way.front().bytes.empty()) continue;
    auto& bytes = side.incoming.on_its_way.front().bytes;
    bytes[world_.draw().below(bytes.size())] ^= static_cast<std::byte>(1u << world_.draw().below(8));
    return true;
  }
  return false;
}

void Network::block(int from_host, int to_host, Plane plane, TimePoint until) {
  TimePoint& blocked = paths_[{from_host, to_host, plane}].blocked_until;
  blocked = std::max(blocked, until);
}

void Network::clog(int from_host, int to_host, Duration by, TimePoint until) {
  for (const Plane plane : {Plane::kControl, Plane::kData}) {
    Path& path = paths_[{from_host, to_host, plane}];
    path.clogged_by = by;
    path.clogged_until = until;
  }
}

}  // namespace tutti::sim
