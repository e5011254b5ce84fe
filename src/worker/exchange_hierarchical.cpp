// SPDX-License-Identifier: Apache-2.0
#include "worker/exchange_hierarchical.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "common/assert.h"
#include "ps/reduce.h"

namespace tutti::worker {
namespace {

// How long a leader that waits for its host leaves the exchange between hosts alone: some of them go on only where they
// are polled.
constexpr Duration kSlice = std::chrono::microseconds(100);
// What is divided while it is in the cache that it was copied into.
constexpr std::uint64_t kPieceBytes = 64u << 10;

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
  ExchangePlan sums = without_average(std::move(plan));
  TUTTI_TRY(within_->open(sums, deadline));
  const std::vector<BucketMemory> before = std::exchange(sums_, within_->sums());  // until nobody works there
  for (std::size_t b = 0; b < sums_.size(); ++b) sums.memory[b] = sums_[b].get();
  sum_places_ = sums.memory;
  return leads() ? from_between(between_->open(std::move(sums), deadline + kMoment)) : Result<>();
}

Result<> HierarchicalExchange::start(const ExchangeId& id, std::uint32_t bucket) {
  id_ = id;
  TUTTI_TRY(within_->start(id, bucket));
  summing_.push_back(bucket);
  // The bucket has started: that a generation has ended is told by the next verb.
  const Result<> sent = send_summed();
  return sent || sent.error().code == Errc::kSuperseded ? Result<>() : sent;
}

Result<> HierarchicalExchange::poll() {
  TUTTI_TRY(within_->poll());
  TUTTI_TRY(send_summed());
  return leads() ? from_between(between_->poll()) : Result<>();
}

// Sharing waits for wait() and finish(): so every rank starts its sums and shares in the same order.
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

// A step of its way that fails has not been made: after a kSuperseded the bucket goes on from where it is listed.
Result<> HierarchicalExchange::pass_on() {
  const std::uint32_t bucket = summing_.front();
  TUTTI_TRY(within_->wait(bucket, Deadline()));  // it is there
  TUTTI_TRY(leads() ? send(bucket) : share(bucket));
  summing_.erase(summing_.begin());
  return {};
}

Result<> HierarchicalExchange::send(std::uint32_t bucket) {
  const BucketSpec& spec = plan_[bucket];
  const bool is_result = spec.bytes() > 0 && within_->is_shared(bucket);  // by one whose place this rank took
  if (!is_result && spec.reduction == Reduction::kBroadcast && sum_places_[bucket] != memory_[bucket])
    std::memcpy(sum_places_[bucket], memory_[bucket], spec.bytes());
  TUTTI_TRY(from_between(is_result ? between_->hand_on(id_, bucket) : between_->start(id_, bucket)));
  travelling_.push_back(bucket);
  return {};
}

Result<> HierarchicalExchange::bring_back(Deadline deadline) {
  const std::uint32_t bucket = travelling_.front();
  TUTTI_TRY(from_between(between_->wait(bucket, deadline + kMoment)));
  make_result(bucket);
  TUTTI_TRY(share(bucket));
  travelling_.erase(travelling_.begin());
  return {};
}

void HierarchicalExchange::make_result(std::uint32_t bucket) {
  const BucketSpec& spec = plan_[bucket];
  for (std::uint64_t offset = 0; offset < spec.bytes(); offset += kPieceBytes) {
    const std::span<std::byte> into(memory_[bucket] + offset, std::min(kPieceBytes, spec.bytes() - offset));
    const std::byte* const from = sum_places_[bucket] + offset;
    if (from != into.data()) std::memcpy(into.data(), from, into.size());
    if (spec.reduction == Reduction::kAverage)
      ps::divide(spec.dtype, into, static_cast<std::size_t>(options_.world_size));
  }
}

Result<> HierarchicalExchange::share(std::uint32_t bucket) {
  TUTTI_TRY(within_->start_share(bucket));
  sharing_.push_back(bucket);
  return {};
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
  TUTTI_TRY(within_->wait_for_all(deadline + 2 * kMoment));
  if (leads()) TUTTI_TRY(from_between(between_->finish(deadline + kMoment)));
  within_->end_exchange();  // both stages are done with it, or none is
  return {};
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

Result<> HierarchicalExchange::mend(const Succession& succession, Deadline deadline) {
  if (succession.is_behind)
    TUTTI_TRY(catch_up(succession, deadline));
  else if (leads())
    TUTTI_TRY(from_between(between_->mend(succession, deadline)));
  return within_->mend(succession, deadline);
}

// The other hosts have all of it: so this one's sums were sent, and the results are on their way to the leader. What it
// has shared is mended into every bucket.
Result<> HierarchicalExchange::catch_up(const Succession& succession, Deadline deadline) {
  for (std::uint32_t bucket = 0; bucket < plan_.size(); ++bucket) {
    if (plan_[bucket].reduction == Reduction::kBroadcast || within_->has_begun(bucket)) continue;
    // Its host's sum was sent before it came in place of a lost one.
    return fail(Errc::kPeerLost,
                "other hosts had the step's result before this rank, which is new, had begun the step");
  }
  if (leads()) {
    TUTTI_ASSERT(summing_.empty(), "an exchange is over when every host has sent its sums");
    TUTTI_TRY(within_->go_on(deadline));
    return fetch_results(succession, clock_.now() + (deadline - clock_.now()) / 2);
  }
  if (!contains(succession.new_on_host, 0)) return {};
  for (std::uint32_t bucket = 0; bucket < plan_.size(); ++bucket) {
    if (plan_[bucket].bytes() == 0 || within_->is_shared(bucket)) continue;
    return fail(Errc::kPeerLost, "the first rank of the host was lost before the others had the step's result");
  }
  return {};
}

// Results come at once, where they come. A rank of another host may have them from an earlier generation only, from a
// leader that was lost before it had handed them on in this one: then nobody does any more.
Result<> HierarchicalExchange::fetch_results(const Succession& succession, Deadline deadline) {
  Result<> fetched = from_between(between_->mend(succession, deadline));
  while (fetched && !travelling_.empty()) fetched = bring_back(deadline);
  if (fetched || fetched.error().code != Errc::kTimeout) return fetched;
  return fail(Errc::kPeerLost, "the step's result, which other hosts have, does not come: " + fetched.error().message);
}

Result<> HierarchicalExchange::go_on(Deadline deadline) {
  TUTTI_TRY(within_->go_on(deadline));
  return leads() ? from_between(between_->go_on(deadline)) : Result<>();
}

void HierarchicalExchange::take_over(std::uint64_t rounds, const Succession& succession) {
  within_->take_over(rounds, succession);
  if (leads()) between_->take_over(rounds, succession);
}

}  // namespace tutti::worker
