// SPDX-License-Identifier: Apache-2.0
#include "common/control/reporter.h"

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <mutex>
#include <utility>
#include <vector>

#include "common/utf8.h"

namespace tutti {
namespace {

constexpr std::size_t kValuesMax = 512;     // in one report: far below what a control message holds
constexpr std::size_t kNameBytesMax = 256;  // of a name: the same

/// A name that is text stays text.
std::string_view short_name(std::string_view name) {
  if (name.size() <= kNameBytesMax) return name;
  std::size_t size = kNameBytesMax;
  while (size > 0 && !begins_character(name[size])) --size;
  return name.substr(0, size);
}

}  // namespace

struct Reporter::Impl : std::enable_shared_from_this<Impl> {
  struct Logged {
    std::string name;
    std::int64_t step;
    TimePoint time;
    double value;
  };

  Impl(Loop& loop, const MetricsCounter& metrics_, const Clock& clock_, Send send_, const Options& options)
      : metrics(metrics_),
        clock(clock_),
        send(std::move(send_)),
        period(options.period),
        usage(options.gpu),
        timer(loop.context()) {}

  void wait();
  void report();

  const MetricsCounter& metrics;
  const Clock& clock;
  const Send send;
  const Duration period;
  UsageMeter usage;
  boost::asio::steady_timer timer;
  std::mutex mutex;
  std::vector<Logged> logged;  // guarded by mutex
  RunPosition position;        // guarded by mutex
};

void Reporter::Impl::wait() {
  timer.expires_after(period);
  timer.async_wait([self = weak_from_this()](const boost::system::error_code& error) {
    const auto reporter = self.lock();
    if (error || !reporter) return;
    reporter->report();
    reporter->wait();
  });
}

void Reporter::Impl::report() {
  Report report;
  report.metrics = metrics.snapshot();
  report.usage = usage.read();
  const TimePoint now = clock.now();
  {
    const std::lock_guard lock(mutex);
    report.position = position;
    for (Logged& value : logged)
      report.values.push_back({std::move(value.name), value.step, (now - value.time).count(), value.value});
    logged.clear();
  }
  send(encode(report));
}

Reporter::Reporter(Loop& loop, const MetricsCounter& metrics, const Clock& clock, Send send, Options options)
    : loop_(loop), impl_(std::make_shared<Impl>(loop, metrics, clock, std::move(send), options)) {
  loop_.run([this] { impl_->wait(); });
}

Reporter::~Reporter() {
  loop_.run([this] {
    impl_->timer.cancel();
    impl_->report();
    impl_.reset();
  });
}

void Reporter::log(std::string_view name, std::int64_t step, double value) {
  const TimePoint now = impl_->clock.now();
  name = short_name(name);
  const std::lock_guard lock(impl_->mutex);
  auto& logged = impl_->logged;
  if (logged.size() >= kValuesMax) {
    // What is left out is the oldest of its name, if the name has another; else there is no room for a new one.
    const auto oldest = std::ranges::find(logged, name, &Impl::Logged::name);
    if (oldest == logged.end()) return;
    logged.erase(oldest);
  }
  logged.push_back({std::string(name), step, now, value});
}

void Reporter::set_position(const RunPosition& position) {
  const std::lock_guard lock(impl_->mutex);
  impl_->position = position;
}

}  // namespace tutti
