// SPDX-License-Identifier: Apache-2.0
#include "worker/exchange_gloo.h"

#include <ATen/Functions.h>
#include <fmt/format.h>
// Gloo's declarations come from the system; only their layout-free parts are used, its code is LibTorch's.
#include <gloo/transport/unbound_buffer.h>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include <time.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <optional>
#include <vector>

#include "worker/gradient_buckets.h"

namespace tutti::worker {
namespace {

using std::chrono::milliseconds;

/// Without the stack that LibTorch appends: the line is for a user.
std::string words_of(const std::exception& error) {
  const auto* torch = dynamic_cast<const c10::Error*>(&error);
  return torch != nullptr ? torch->what_without_backtrace() : error.what();
}

milliseconds left_until(Deadline deadline, const Clock& clock) {
  return std::max(milliseconds(1), std::chrono::duration_cast<milliseconds>(deadline - clock.now()));
}

/// The run's key-value store as LibTorch's process groups want it, so that they meet through tutti's own proven
/// connections and open no port of their own for it.
class CoordinatorStore final : public c10d::Store {
 public:
  /// `prefix` goes before every key; `member` outlives the store.
  CoordinatorStore(Member& member, std::string prefix, std::chrono::milliseconds timeout)
      : Store(timeout), member_(member), prefix_(std::move(prefix)) {}

  c10::intrusive_ptr<Store> clone() override;
  using Store::set;
  void set(const std::string& key, const std::vector<std::uint8_t>& value) override;
  std::vector<std::uint8_t> get(const std::string& key) override;
  std::int64_t add(const std::string& key, std::int64_t value) override;
  bool deleteKey(const std::string& key) override;
  bool check(const std::vector<std::string>& keys) override;
  std::int64_t getNumKeys() override;
  void wait(const std::vector<std::string>& keys) override { wait(keys, getTimeout()); }
  void wait(const std::vector<std::string>& keys, const std::chrono::milliseconds& timeout) override;

 private:
  std::string full(const std::string& key) const { return prefix_ + key; }

  Member& member_;
  const std::string prefix_;
};

/// LibTorch's process groups expect exceptions.
template <class T>
T value_or_raise(Result<T> result) {
  if (!result) raise(result.error());
  return std::move(*result);
}

c10::intrusive_ptr<c10d::Store> CoordinatorStore::clone() {
  return c10::make_intrusive<CoordinatorStore>(member_, prefix_, getTimeout());
}

void CoordinatorStore::set(const std::string& key, const std::vector<std::uint8_t>& value) {
  if (auto result = member_.set(full(key), std::string(value.begin(), value.end())); !result) raise(result.error());
}

std::vector<std::uint8_t> CoordinatorStore::get(const std::string& key) {
  const std::string value = value_or_raise(member_.get(full(key), SteadyClock().now() + getTimeout()));
  return {value.begin(), value.end()};
}

std::int64_t CoordinatorStore::add(const std::string& key, std::int64_t value) {
  return value_or_raise(member_.add(full(key), value));
}

bool CoordinatorStore::deleteKey(const std::string& key) {
  return value_or_raise(member_.erase(full(key)));
}

bool CoordinatorStore::check(const std::vector<std::string>& keys) {
  std::vector<std::string> all;
  for (const std::string& key : keys) all.push_back(full(key));
  return value_or_raise(member_.contains(all));
}

std::int64_t CoordinatorStore::getNumKeys() {
  C10_THROW_ERROR(NotImplementedError, "the run's store does not count its keys");
}

void CoordinatorStore::wait(const std::vector<std::string>& keys, const std::chrono::milliseconds& timeout) {
  const Deadline deadline = SteadyClock().now() + timeout;
  for (const std::string& key : keys) value_or_raise(member_.get(full(key), deadline));
}

class GlooExchange final : public Exchange {
 public:
  GlooExchange(c10::intrusive_ptr<c10d::ProcessGroupGloo> group, const Identity& identity, const Clock& clock)
      : group_(std::move(group)), identity_(identity), clock_(clock) {}

  ExchangeTraits traits() const noexcept override {
    return {"gloo", /*rank_ordered=*/false, /*in_place=*/true, /*cpu=*/true, /*cuda=*/false};
  }

  Result<> open(ExchangePlan plan, Deadline) override {
    plan_ = std::move(plan);
    tensors_.clear();
    for (std::size_t b = 0; b < plan_.buckets.size(); ++b) {
      const BucketSpec& bucket = plan_.buckets[b];
      tensors_.push_back(
          at::from_blob(plan_.memory[b], {static_cast<std::int64_t>(bucket.elements)}, scalar_type_of(bucket.dtype)));
    }
    return {};
  }

  Result<> start(const ExchangeId&, std::uint32_t bucket) override {
    if (auto cause = aborted()) return *cause;
    std::vector<at::Tensor> tensors{tensors_[bucket]};
    try {
      const bool broadcast = plan_.buckets[bucket].reduction == Reduction::kBroadcast;
      started_.push_back({bucket, broadcast ? group_->broadcast(tensors) : group_->allreduce(tensors)});
    } catch (const std::exception& error) {
      return failed(bucket, error);
    }
    return {};
  }

  Result<> poll() override { return {}; }

  Result<> wait(std::uint32_t bucket, Deadline deadline) override {
    const auto found =
        std::find_if(started_.begin(), started_.end(), [&](const Started& one) { return one.bucket == bucket; });
    if (found == started_.end()) return {};  // it was waited for already
    const Started started = std::move(*found);
    started_.erase(found);
    return wait_for(started, deadline);
  }

  Result<> finish(Deadline deadline) override {
    Result<> result;
    for (const Started& started : started_) {
      if (result) result = wait_for(started, deadline);
    }
    started_.clear();
    return result;
  }

  void abort(const Failure& cause) noexcept override {
    const std::lock_guard lock(mutex_);
    if (!aborted_) aborted_ = cause;
  }

 private:
  struct Started {
    std::uint32_t bucket;
    c10::intrusive_ptr<c10d::Work> work;
  };

  Result<> wait_for(const Started& started, Deadline deadline) {
    const auto& [bucket, work] = started;
    try {
      // In slices, so that an abort of the run ends the wait: Gloo itself notices a death by the broken connection
      // only.
      while (!work->isCompleted()) {
        if (auto cause = aborted()) return *cause;
        if (clock_.now() >= deadline) {
          return fail(Errc::kTimeout, fmt::format("gloo: rank {} waited in vain for bucket {} of model {}",
                                                  identity_.rank, bucket, plan_.object));
        }
        const ::timespec nap{0, 50'000};
        ::nanosleep(&nap, nullptr);
      }
      work->wait(left_until(deadline, clock_));
    } catch (const std::exception& error) {
      return failed(bucket, error);
    }
    if (plan_.buckets[bucket].reduction == Reduction::kAverage) tensors_[bucket].div_(identity_.world_size);
    tell_done(bucket);
    return {};
  }

  Failure failed(std::uint32_t bucket, const std::exception& error) const {
    if (auto cause = aborted()) return *cause;
    return fail(Errc::kCollective, fmt::format("gloo: bucket {} of model {} on rank {}: {}", bucket, plan_.object,
                                               identity_.rank, words_of(error)));
  }

  std::optional<Failure> aborted() const {
    const std::lock_guard lock(mutex_);
    return aborted_;
  }

  const c10::intrusive_ptr<c10d::ProcessGroupGloo> group_;
  const Identity identity_;
  const Clock& clock_;
  ExchangePlan plan_;
  std::vector<at::Tensor> tensors_;
  std::vector<Started> started_;
  mutable std::mutex mutex_;
  std::optional<Failure> aborted_;  // guarded by mutex_
};

}  // namespace

Result<std::unique_ptr<Exchange>> make_gloo_exchange(Member& member, const Identity& identity, std::uint32_t object,
                                                     const Clock& clock, Duration timeout) {
  try {
    const auto patience = std::chrono::duration_cast<milliseconds>(timeout);
    // Worlds of different sizes (of ranks, of hosts) never find each other's keys.
    const auto prefix = fmt::format("gloo/{}/{}/{}/", member.generation(), object, identity.world_size);
    auto store = c10::make_intrusive<CoordinatorStore>(member, prefix, patience);
    auto options = c10d::ProcessGroupGloo::Options::create(patience);
    options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname(identity.address));
    auto group = c10::make_intrusive<c10d::ProcessGroupGloo>(store, identity.rank, identity.world_size, options);
    return std::unique_ptr<Exchange>(std::make_unique<GlooExchange>(std::move(group), identity, clock));
  } catch (const std::exception& error) {
    return fail(Errc::kCollective, fmt::format("gloo: rank {} at {} could not meet the others: {}", identity.rank,
                                               identity.address, words_of(error)));
  }
}

}  // namespace tutti::worker
