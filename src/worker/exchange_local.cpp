// SPDX-License-Identifier: Apache-2.0
#include "worker/exchange_local.h"

#include <mutex>
#include <optional>

namespace tutti::worker {

namespace {

/// Nothing is ever under way, so only an abort can be seen.
class LocalExchange final : public Exchange {
 public:
  ExchangeTraits traits() const noexcept override {
    return {.name = "local", .rank_ordered = true, .in_place = false, .cuda = true};
  }
  Result<> open(ExchangePlan, Deadline) override { return poll(); }
  Result<> start(const ExchangeId&, std::uint32_t) override { return poll(); }
  Result<> wait(std::uint32_t, Deadline) override { return poll(); }
  Result<> finish(Deadline) override { return poll(); }

  Result<> poll() override {
    const std::lock_guard lock(mutex_);
    if (aborted_) return *aborted_;
    return {};
  }

  void abort(const Failure& cause) noexcept override {
    const std::lock_guard lock(mutex_);
    if (!aborted_) aborted_ = cause;
  }

 private:
  std::mutex mutex_;
  std::optional<Failure> aborted_;  // guarded by mutex_
};

}  // namespace

std::unique_ptr<Exchange> make_local_exchange() {
  return std::make_unique<LocalExchange>();
}

}  // namespace tutti::worker
