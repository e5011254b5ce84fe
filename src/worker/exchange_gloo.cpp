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
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "worker/abort_cause.h"
#include "worker/gradient_buckets.h"
#include "worker/results_aside.h"

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

using Group = c10::intrusive_ptr<c10d::ProcessGroupGloo>;

Result<Group> meet(Member& member, const GlooOptions& options) {
  const Identity& identity = options.identity;
  try {
    const auto patience = std::chrono::duration_cast<milliseconds>(options.timeout);
    // Worlds of different sizes (of ranks, of hosts) never find each other's keys.
    const auto prefix = fmt::format("gloo/{}/{}/{}/", member.generation(), options.object, identity.world_size);
    auto store = c10::make_intrusive<CoordinatorStore>(member, prefix, patience);
    auto group = c10d::ProcessGroupGloo::Options::create(patience);
    group->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname(identity.address));
    return c10::make_intrusive<c10d::ProcessGroupGloo>(store, identity.rank, identity.world_size, group);
  } catch (const std::exception& error) {
    return fail(Errc::kCollective, fmt::format("gloo: rank {} at {} could not meet the others: {}", identity.rank,
                                               identity.address, words_of(error)));
  }
}

class GlooExchange final : public Exchange {
 public:
  GlooExchange(Member& member, GlooOptions options, const Clock& clock)
      : member_(member), options_(std::move(options)), clock_(clock), results_(options_.outlives_losses) {}
  ~GlooExchange() override {
    for (std::thread& end : ends_) end.join();
  }

  ExchangeTraits traits() const noexcept override {
    return {.name = "gloo", .in_place = !options_.outlives_losses, .outlives_losses = options_.outlives_losses};
  }

  Result<> open(ExchangePlan plan, Deadline) override {
    if (!group_) TUTTI_TRY(connect());
    plan_ = std::move(plan);
    std::vector<at::Tensor> tensors;
    for (std::size_t b = 0; b < plan_.buckets.size(); ++b) {
      const BucketSpec& bucket = plan_.buckets[b];
      tensors.push_back(
          at::from_blob(plan_.memory[b], {static_cast<std::int64_t>(bucket.elements)}, scalar_type_of(bucket.dtype)));
    }
    results_.open(std::move(tensors));
    return {};
  }

  Result<> start(const ExchangeId&, std::uint32_t bucket) override {
    TUTTI_TRY(cause_.check());
    const at::Tensor& result = results_.start(bucket);
    if (options_.outlives_losses) result.copy_(results_.input(bucket));
    std::vector<at::Tensor> tensors{result};
    try {
      const bool broadcast = plan_.buckets[bucket].reduction == Reduction::kBroadcast;
      works_.push_back({bucket, broadcast ? group_->broadcast(tensors) : group_->allreduce(tensors)});
    } catch (const std::exception& error) {
      if (!options_.outlives_losses) return failed(bucket, words_of(error));
      broken_ = words_of(error);
      works_.push_back({bucket, nullptr});
    }
    return {};
  }

  Result<> poll() override { return {}; }

  // Results that lie aside are put into their buckets all at once.
  Result<> wait(std::uint32_t bucket, Deadline deadline) override {
    if (options_.outlives_losses) return finish(deadline);
    const auto found =
        std::find_if(works_.begin(), works_.end(), [&](const Started& one) { return one.bucket == bucket; });
    if (found == works_.end()) return {};  // it was waited for already
    const Started started = std::move(*found);
    works_.erase(found);
    return wait_for(started, deadline);
  }

  Result<> finish(Deadline deadline) override {
    Result<> result;
    for (const Started& started : std::exchange(works_, {})) {
      if (result) result = wait_for(started, deadline);
    }
    TUTTI_TRY(result);
    for (const std::uint32_t bucket : results_.finish()) tell_done(bucket);
    return {};
  }

  void abort(const Failure& cause) noexcept override { cause_.set(cause); }

  Result<> mend(const Succession& succession, Deadline) override {
    if (!succession.is_behind) return {};
    return fail(Errc::kPeerLost, "gloo: the others have the step's result already, and this rank cannot get it");
  }

  Result<> go_on(Deadline) override {
    TUTTI_TRY(cause_.go_on());
    retire();
    TUTTI_TRY(connect());
    for (const std::uint32_t bucket : results_.begin_again()) TUTTI_TRY(start({}, bucket));
    return {};
  }

 private:
  struct Started {
    std::uint32_t bucket;
    c10::intrusive_ptr<c10d::Work> work;  // null: it could not begin
  };

  Result<> connect() {
    auto group = meet(member_, options_);
    if (!group && member_.is_superseded()) return fail(Errc::kSuperseded, group.error().text());
    TUTTI_TRY(group);
    group_ = std::move(*group);
    return {};
  }

  // The end of a group waits for its collectives, of which some wait for the lost rank, or for others that do: as long
  // as Gloo's timeout. Nobody waits for that.
  void retire() {
    works_.clear();
    broken_.clear();
    if (!group_) return;
    group_->setTimeout(milliseconds(1));  // of those that have not begun
    ends_.emplace_back([group = std::exchange(group_, {})]() mutable { group.reset(); });
  }

  Result<> wait_for(const Started& started, Deadline deadline) {
    const auto& [bucket, work] = started;
    if (work) TUTTI_TRY(wait_until_completed(bucket, *work, deadline));
    if (!broken_.empty()) return await_cause(bucket, deadline);
    if (plan_.buckets[bucket].reduction == Reduction::kAverage)
      results_.result(bucket).div_(options_.identity.world_size);
    return {};
  }

  // In slices, so that an abort of the run ends the wait: Gloo itself notices a death by the broken connection only.
  Result<> wait_until_completed(std::uint32_t bucket, c10d::Work& work, Deadline deadline) {
    try {
      while (!work.isCompleted()) TUTTI_TRY(nap(bucket, deadline));
      work.wait(left_until(deadline, clock_));
    } catch (const std::exception& error) {
      if (!options_.outlives_losses) return failed(bucket, words_of(error));
      broken_ = words_of(error);
    }
    return {};
  }

  // A connection breaks before the coordinator has said who was lost.
  Result<> await_cause(std::uint32_t bucket, Deadline deadline) {
    while (clock_.now() < deadline) TUTTI_TRY(nap(bucket, deadline));
    return failed(bucket, broken_);
  }

  Result<> nap(std::uint32_t bucket, Deadline deadline) const {
    TUTTI_TRY(cause_.check());
    if (clock_.now() >= deadline) {
      return fail(Errc::kTimeout, fmt::format("gloo: rank {} waited in vain for bucket {} of model {}",
                                              options_.identity.rank, bucket, plan_.object));
    }
    const ::timespec slice{0, 50'000};
    ::nanosleep(&slice, nullptr);
    return {};
  }

  Failure failed(std::uint32_t bucket, const std::string& what) const {
    if (const auto cause = cause_.check(); !cause) return cause.error();
    return fail(Errc::kCollective, fmt::format("gloo: bucket {} of model {} on rank {}: {}", bucket, plan_.object,
                                               options_.identity.rank, what));
  }

  Member& member_;
  const GlooOptions options_;
  const Clock& clock_;
  Group group_;
  ExchangePlan plan_;
  ResultsAside results_;
  std::vector<Started> works_;
  std::string broken_;             // what Gloo said when a collective of this generation failed
  std::vector<std::thread> ends_;  // of groups of former generations
  AbortCause cause_;
};

}  // namespace

std::unique_ptr<Exchange> make_gloo_exchange(Member& member, GlooOptions options, const Clock& clock) {
  return std::make_unique<GlooExchange>(member, std::move(options), clock);
}

}  // namespace tutti::worker
