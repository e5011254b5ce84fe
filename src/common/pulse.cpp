// SPDX-License-Identifier: Apache-2.0
#include "common/pulse.h"

#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <utility>

#include "common/net/frame.h"

namespace tutti {
namespace {

/// Owned by the loop, which drops it with all that waits there.
class Beater : public std::enable_shared_from_this<Beater> {
 public:
  Beater(boost::asio::io_context& context, StatusPage page, Duration period)
      : timer_(context), page_(std::move(page)), period_(period) {}

  void beat() {
    page_.beat();
    timer_.expires_after(period_);
    timer_.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
      if (!error) self->beat();
    });
  }

 private:
  boost::asio::steady_timer timer_;
  StatusPage page_;
  const Duration period_;
};

}  // namespace

Result<std::unique_ptr<Pulse>> Pulse::start(Loop& loop, const StatusPage& page, Duration period) {
  auto own = page.share(), beaters = page.share();
  if (!own) return std::move(own).error();
  if (!beaters) return std::move(beaters).error();
  loop.post([beater = std::make_shared<Beater>(loop.context(), *std::move(beaters), period)] { beater->beat(); });
  return std::unique_ptr<Pulse>(new Pulse(*std::move(own)));
}

std::unique_ptr<Pulse> start_pulse(Loop& loop, const StatusPage& page, Duration timeout, const Logger& log) {
  auto pulse = Pulse::start(loop, page, timeout / (2 * kHeartbeatsInTimeout));
  if (pulse) return *std::move(pulse);
  log.warning("gives no signs of life: {}", pulse.error().text());
  return nullptr;
}

void Pulse::record(const Event& event) noexcept {
  switch (event.kind) {
    case EventKind::kIterationBegin:
      has_begun_ = true;
      return set(Activity::kWorking);
    case EventKind::kWaitBegin:
      wait_began_ = event.time;
      return set(Activity::kWaiting);
    case EventKind::kWaitEnd:
      waited_ += event.time - wait_began_;
      page_.set_waited(waited_);
      return set(not_waiting());
    case EventKind::kRequestBegin:
      return set(event.bucket == static_cast<std::uint32_t>(FrameType::kLeave) ? Activity::kLeaving
                                                                               : Activity::kWaiting);
    case EventKind::kRequestEnd:
      return set(not_waiting());
    default:
      return;
  }
}

void Pulse::set(Activity activity) noexcept {
  page_.set_activity(activity, ++changes_);
}

}  // namespace tutti
