// SPDX-License-Identifier: Apache-2.0
#include "worker/exchange_hierarchical.h"

#include <algorithm>
#include <utility>

#include "common/assert.h"
#include "ps/reduce.h"

namespace tutti::worker {
namespace {

// How long a leader that waits for its host leaves the exchange between hosts alone: some of them go on only where they
// are polled.
constexpr Duration kSlice = std::chrono::microseconds(100);

bool contains(const std::vector<std::uint32_t>& buckets, std::uint32_t bucket) {
  return std::ranges::find(buckets, bucket) != buckets.end();
}

}  // namespace

HierarchicalExchange::HierarchicalExchange(Options options, std::unique_ptr<ShmExchange> within,
                                           std::unique_ptr<Exchange> between, const Clock& clock)
    : options_(std::move(options)), within_(std::move(within)), between_(std::move(between)), clock_(clock) {
  within_->on_bucket_done([this](std::uint32_t bucket) { tell_done(bucket); });
}

ExchangePlan HierarchicalExchange::without_average(ExchangePlan plan) {
  for (BucketSpec& bucket : plan.buckets) {
    if (bucket.reduction == Reduction::kAverage) bucket.reduction = Reduction::kSum;
  }
  plan.ranges.clear();  // what goes between hosts lies in the buckets
  TUTTI_ASSERT(!plan.looks_for_nan, "a host's sum does not tell what the other hosts' are");
  return plan;
}

Result<std::vector<BucketMemory>> HierarchicalExchange::place(const ExchangePlan& plan, Deadline deadline) {
  TUTTI_TRY(ps::check_reducible(plan.buckets));
  return within_->place(without_average(plan), deadline);
}

Result<> HierarchicalExchange::open(ExchangePlan plan, Deadline deadline) {
  plan_ = plan.buckets;
  memory_ = plan.memory;
  summing_.clear();
  travelling_.clear();
  sharing_.clear();
  const ExchangePlan sums = without_average(std::move(plan));
  TUTTI_TRY(within_->open(sums, deadline));
  return leads() ? from_between(between_->open(sums, deadline + kMoment)) : Result<>();
}

Result<> HierarchicalExchange::start(const ExchangeId& id, std::uint32_t bucket) {
  id_ = id;
  if (is_summed_here(bucket)) TUTTI_TRY(within_->start(id, bucket));
  summing_.push_back(bucket);
  return send_summed();
}

Result<> HierarchicalExchange::poll() {
  TUTTI_TRY(within_->poll());
  TUTTI_TRY(send_summed());
  return leads() ? from_between(between_->poll()) : Result<>();
}

// Sharing waits for wait() and finish(): so every rank starts its sums and shares in the same order. A bucket that is
// not summed here, but rank 0's, was never started within the host and so counts as summed.
Result<> HierarchicalExchange::send_summed() {
  while (leads() && !summing_.empty() && within_->is_summed(summing_.front())) TUTTI_TRY(pass_on());
  return {};
}

Result<> HierarchicalExchange::wait_for_sum(Deadline deadline) {
  const std::uint32_t bucket = summing_.front();
  while (true) {
    const Deadline look = travelling_.empty() ? deadline : std::min(deadline, clock_.now() + kSlice);
    const auto summed = within_->is_summed_by(bucket, look);
    TUTTI_TRY(summed);
    if (*summed) return {};
    if (clock_.now() >= deadline) return within_->wait(bucket, deadline);  // its failure names who is late
    if (leads()) TUTTI_TRY(from_between(between_->poll()));
  }
}

Result<> HierarchicalExchange::pass_on() {
  const std::uint32_t bucket = summing_.front();
  if (is_summed_here(bucket)) TUTTI_TRY(within_->wait(bucket, Deadline()));  // it is there
  summing_.erase(summing_.begin());
  if (!leads()) return share(bucket);
  travelling_.push_back(bucket);
  return from_between(between_->start(id_, bucket));
}

Result<> HierarchicalExchange::bring_back(Deadline deadline) {
  const std::uint32_t bucket = travelling_.front();
  TUTTI_TRY(from_between(between_->wait(bucket, deadline + kMoment)));
  travelling_.erase(travelling_.begin());
  const BucketSpec& spec = plan_[bucket];
  if (spec.reduction == Reduction::kAverage) {
    ps::divide(spec.dtype, {memory_[bucket], spec.bytes()}, static_cast<std::size_t>(options_.world_size));
  }
  return share(bucket);
}

Result<> HierarchicalExchange::share(std::uint32_t bucket) {
  sharing_.push_back(bucket);
  return within_->start_share(bucket);
}

Result<> HierarchicalExchange::wait_for_share(std::uint32_t bucket, Deadline deadline) {
  TUTTI_TRY(within_->wait_share(bucket, deadline + 2 * kMoment));
  std::erase(sharing_, bucket);
  return {};
}

Result<> HierarchicalExchange::wait(std::uint32_t bucket, Deadline deadline) {
  while (contains(summing_, bucket)) {
    TUTTI_TRY(wait_for_sum(deadline));
    TUTTI_TRY(pass_on());
  }
  while (contains(travelling_, bucket)) TUTTI_TRY(bring_back(deadline));
  return contains(sharing_, bucket) ? wait_for_share(bucket, deadline) : Result<>();
}

// First all buckets are sent, then the first one is waited for: the wire has work while the host shares what came.
Result<> HierarchicalExchange::finish(Deadline deadline) {
  while (!summing_.empty()) {
    TUTTI_TRY(wait_for_sum(deadline));
    TUTTI_TRY(pass_on());
  }
  while (!travelling_.empty()) TUTTI_TRY(bring_back(deadline));
  while (!sharing_.empty()) TUTTI_TRY(wait_for_share(sharing_.front(), deadline));
  return within_->finish(deadline);
}

/// Ranks between hosts are hosts, which a failure's words cannot know. What the run was given up for needs no such
/// hint.
Result<> HierarchicalExchange::from_between(Result<> result) {
  if (result) return {};
  TUTTI_TRY(within_->poll());
  return std::move(result).error().wrap("exchange " + options_.name + ", where rank i is the first rank of host i");
}

void HierarchicalExchange::abort(const Failure& cause) noexcept {
  within_->abort(cause);
  if (between_) between_->abort(cause);
}

}  // namespace tutti::worker
