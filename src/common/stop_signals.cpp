// SPDX-License-Identifier: Apache-2.0
#include "common/stop_signals.h"

#include <time.h>

#include <atomic>
#include <cerrno>
#include <cstdint>

namespace tutti {
namespace {

// A handler has no argument, so what it needs stands here.
std::atomic<const StatusPage*> agents_page = nullptr;
std::atomic<std::int64_t> asked_at = 0;  // monotonic nanoseconds; 0: not yet
static_assert(std::atomic<std::int64_t>::is_always_lock_free);

std::int64_t monotonic_now() noexcept {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

bool is_to_end() noexcept {
  const StatusPage* page = agents_page;
  return page != nullptr && page->wish() == StatusPage::Wish::kEnd;
}

bool is_first_asking() noexcept {
  const std::int64_t now = monotonic_now();
  std::int64_t first = 0;
  return asked_at.compare_exchange_strong(first, now) || now - first < std::chrono::nanoseconds(kSameAsking).count();
}

void on_signal(int signal) {
  const int before = errno;
  if (is_to_end() || !is_first_asking()) {
    ::signal(signal, SIG_DFL);
    ::raise(signal);  // which is blocked until this handler returns
  }
  errno = before;
}

}  // namespace

StopSignals::StopSignals(const StatusPage* page) : handled_{{{SIGTERM}, {SIGUSR1}}} {
  agents_page = page;
  asked_at = 0;
  for (Handled& handled : handled_) {
    struct sigaction present = {};
    if (sigaction(handled.signal, nullptr, &present) != 0 || present.sa_handler != SIG_DFL) continue;
    struct sigaction action = {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    handled.ours = sigaction(handled.signal, &action, nullptr) == 0;
  }
}

StopSignals::~StopSignals() {
  for (const Handled& handled : handled_) {
    struct sigaction present = {};
    if (!handled.ours || sigaction(handled.signal, nullptr, &present) != 0) continue;
    if (present.sa_handler == on_signal) ::signal(handled.signal, SIG_DFL);
  }
  agents_page = nullptr;
}

bool StopSignals::asked() const noexcept {
  const StatusPage* page = agents_page;
  return asked_at != 0 || (page != nullptr && page->wish() != StatusPage::Wish::kNone);
}

}  // namespace tutti
