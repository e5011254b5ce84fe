// SPDX-License-Identifier: Apache-2.0
// Whom of its peers a client or a shard cannot reach, and since when: told again and again while there are some, and
// for longer than a passing trouble. Thread safety: lives on the loop.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>

#include "common/clock.h"
#include "common/control/messages.h"

namespace tutti::ps {

/// Tells the coordinator that peers of this generation cannot be reached. Called on the loop.
using TellUnreachable = std::function<void(std::uint32_t generation, const Unreachable& peers)>;

class Reach : public std::enable_shared_from_this<Reach> {
 public:
  /// `timeout` zero or no `tell`: nothing is told. `clock` outlives it.
  Reach(boost::asio::io_context& context, const Clock& clock, Duration timeout, TellUnreachable tell);

  /// Who is looked for from here on belongs to `generation`.
  void begin_generation(std::uint32_t generation);
  /// It was heard of last at `heard`. Of several such moments the first stands, until it is found().
  void lost(const MemberId& peer, TimePoint heard);
  void found(const MemberId& peer);
  /// Nothing is told any more.
  void end();

 private:
  void look();

  boost::asio::steady_timer timer_;
  const Clock& clock_;
  const Duration timeout_;
  TellUnreachable tell_;
  std::uint32_t generation_ = 0;
  std::map<MemberId, TimePoint> heard_;
  bool is_looking_ = false, has_told_ = false;
};

}  // namespace tutti::ps
