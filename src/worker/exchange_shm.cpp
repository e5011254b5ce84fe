// SPDX-License-Identifier: Apache-2.0
#include "worker/exchange_shm.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <cstring>
#include <span>

#include "common/assert.h"
#include "common/bounded_archive.h"
#include "common/host_memory.h"
#include "common/secret.h"
#include "ps/reduce.h"

namespace tutti::worker {
namespace {

// How often a wait looks again before it sleeps. A sleep and a wake cost about as much as this many looks, so a wait
// costs at most twice what the best choice would have. Where ranks share cores, each look lets another one run.
constexpr int kSpins = 1000;
constexpr int kYields = 100;

std::uint64_t hash_of(const ExchangePlan& plan) {
  const std::string table = encode(plan.buckets) + encode(plan.ranges);
  const Digest digest = sha256(std::as_bytes(std::span(table)));
  std::uint64_t hash = 0;
  std::memcpy(&hash, digest.data(), sizeof hash);
  return hash;
}

}  // namespace

Result<> ShmExchange::obtain(const ExchangePlan& plan, const SegmentShape& shape, Deadline deadline) {
  auto segment = obtain_segment(options_.keeper, {plan.object, plan.number, hash_of(plan), shape}, clock_, deadline);
  if (!segment) return std::move(segment).error().wrap("exchange shm on " + options_.host);
  const std::lock_guard lock(mutex_);
  segment_ = std::make_shared<Segment>(std::move(*segment));
  return {};
}

HostLayout ShmExchange::layout_of(const ExchangePlan& plan) const {
  std::vector<std::uint64_t> spares;
  for (const BucketRange& range : plan.ranges) spares.push_back(range.bytes);
  return {plan.buckets, options_.team.ranks + (options_.shares_back ? 1 : 0), spares};
}

BucketSpec ShmExchange::summed(BucketSpec bucket) const {
  if (options_.shares_back && bucket.reduction == Reduction::kBroadcast) bucket.elements = 0;
  return bucket;
}

std::vector<PlacedTask> ShmExchange::placed_tasks(const ExchangePlan& plan) const {
  const auto buckets = static_cast<std::uint32_t>(plan.buckets.size());
  std::vector<PlacedTask> tasks;
  for (std::uint32_t b = 0; b < buckets; ++b) {
    tasks.push_back({.bucket = b, .spec = summed(plan.buckets[b]), .looks_for_nan = plan.looks_for_nan});
    if (options_.shares_back) tasks.back().shared_by = buckets + b;
  }
  for (std::uint32_t b = 0; options_.shares_back && b < buckets; ++b) {
    tasks.push_back({b, plan.buckets[b]});
    tasks.back().spec.reduction = Reduction::kBroadcast;
  }
  return tasks;
}

Result<std::vector<BucketMemory>> ShmExchange::place(const ExchangePlan& plan, Deadline deadline) {
  TUTTI_TRY(not_aborted());
  TUTTI_TRY(ps::check_reducible(plan.buckets));
  layout_ = layout_of(plan);
  std::vector<PlacedTask> tasks = placed_tasks(plan);
  TUTTI_TRY(obtain(plan, placed_shape(*layout_, tasks), deadline));
  std::vector<BucketMemory> places;
  for (std::uint32_t b = 0; b < plan.buckets.size(); ++b) {
    places.emplace_back(segment_, segment_->data().data() + layout_->offset(options_.team.rank, b));
  }
  work_ = make_placed_work(segment_, options_.team, *layout_, std::move(tasks), plan.ranges);
  placed_ = plan;
  return places;
}

std::vector<BucketMemory> ShmExchange::spares() {
  TUTTI_ASSERT(placed_, "spares come after place()");
  std::vector<BucketMemory> spares;
  for (std::size_t i = 0; i < placed_->ranges.size(); ++i) {
    spares.emplace_back(segment_, segment_->data().data() + layout_->spare(options_.team.rank, i));
    const BucketRange& range = placed_->ranges[i];
    segment_->give_back(layout_->offset(options_.team.rank, range.bucket) + range.offset_bytes, range.bytes);
  }
  return spares;
}

Result<> ShmExchange::use_bucket(std::uint32_t number) {
  const BucketRange& range = placed_->ranges[number];
  const std::uint64_t bucket = layout_->offset(options_.team.rank, range.bucket);
  return segment_->reserve(bucket + range.offset_bytes, range.bytes);
}

Result<> ShmExchange::open(ExchangePlan plan, Deadline deadline) {
  TUTTI_TRY(not_aborted());
  TUTTI_TRY(ps::check_reducible(plan.buckets));
  plan_ = std::move(plan);
  started_.clear();
  untold_.clear();
  begun_.clear();
  exchanges_ = 0;
  if (is_placed()) {
    for (std::uint32_t b = 0; b < plan_.buckets.size(); ++b) {
      TUTTI_ASSERT(plan_.memory[b] == segment_->data().data() + layout_->offset(options_.team.rank, b),
                   "buckets lie where place() said");
    }
    return {};
  }
  TUTTI_TRY(obtain(plan_, staged_shape(options_.team.ranks), deadline));
  std::vector<StagedTask> tasks;
  for (std::size_t b = 0; b < plan_.buckets.size(); ++b) tasks.push_back({summed(plan_.buckets[b]), plan_.memory[b]});
  for (std::size_t b = 0; options_.shares_back && b < plan_.buckets.size(); ++b) {
    tasks.push_back({plan_.buckets[b], plan_.memory[b]});
    tasks.back().spec.reduction = Reduction::kBroadcast;
  }
  work_ = make_staged_work(segment_, options_.team, std::move(tasks));
  return {};
}

Result<> ShmExchange::start(const ExchangeId& id, std::uint32_t bucket) {
  id_ = id;
  return start_task(bucket);
}

Result<> ShmExchange::start_task(std::uint32_t task) {
  TUTTI_TRY(not_aborted());
  TUTTI_ASSERT(work_ != nullptr, "an exchange starts after its open");
  tell_finished_tasks();  // before one of them begins its next round
  work_->start(task);
  started_.push_back(task);
  begun_.push_back(task);
  untold_.push_back(task);
  advance();
  return {};
}

bool ShmExchange::advance() {
  const bool advanced = work_->advance();
  tell_finished_tasks();
  return advanced;
}

// Where the host's sums go on to other hosts, a bucket is done when it has been shared.
void ShmExchange::tell_finished_tasks() {
  const auto buckets = static_cast<std::uint32_t>(plan_.buckets.size());
  for (; !untold_.empty() && work_->is_done(untold_.front()); untold_.pop_front()) {
    const std::uint32_t task = untold_.front();
    if (options_.shares_back == (task >= buckets)) tell_done(task % buckets);
  }
}

Result<> ShmExchange::poll() {
  TUTTI_TRY(not_aborted());
  if (work_) advance();
  return {};
}

Result<bool> ShmExchange::is_done_by(std::uint32_t task, Deadline moment) {
  const int patience = options_.has_cores ? kSpins : kYields;
  for (int looks = 0;; ++looks) {
    const std::uint32_t seen = segment_->look();
    if (advance()) looks = 0;
    if (work_->is_done(task)) return true;
    TUTTI_TRY(not_aborted());
    if (looks < patience && options_.has_cores) {
      __builtin_ia32_pause();
    } else if (looks < patience && clock_.now() < moment) {
      ::sched_yield();  // which may take as long as others run
    } else if (!segment_->sleep(seen, moment)) {
      return false;
    }
  }
}

Result<> ShmExchange::await(std::uint32_t task, Deadline deadline) {
  const auto done = is_done_by(task, deadline);
  TUTTI_TRY(done);
  if (!*done) return late(task);
  tell_finished_tasks();
  std::erase(started_, task);
  return {};
}

Result<> ShmExchange::wait(std::uint32_t bucket, Deadline deadline) {
  return await(bucket, deadline);
}

Result<> ShmExchange::finish(Deadline deadline) {
  TUTTI_TRY(wait_for_all(deadline));
  end_exchange();
  return {};
}

Result<> ShmExchange::wait_for_all(Deadline deadline) {
  while (!started_.empty()) TUTTI_TRY(await(started_.front(), deadline));
  return not_aborted();
}

bool ShmExchange::has_begun(std::uint32_t bucket) const {
  return std::ranges::find(begun_, bucket) != begun_.end();
}

void ShmExchange::end_exchange() {
  if (!begun_.empty()) ++exchanges_;
  begun_.clear();
}

std::vector<BucketMemory> ShmExchange::sums() const {
  std::vector<BucketMemory> sums;
  for (std::uint32_t b = 0; is_placed() && b < plan_.buckets.size(); ++b)
    sums.emplace_back(segment_, segment_->data().data() + layout_->offset(options_.team.ranks, b));
  return sums;
}

std::uint32_t ShmExchange::share_of(std::uint32_t bucket) const {
  return static_cast<std::uint32_t>(plan_.buckets.size()) + bucket;
}

Result<> ShmExchange::start_share(std::uint32_t bucket) {
  return start_task(share_of(bucket));
}

Result<> ShmExchange::wait_share(std::uint32_t bucket, Deadline deadline) {
  return await(share_of(bucket), deadline);
}

bool ShmExchange::is_shared(std::uint32_t bucket) const {
  return work_->has_source(share_of(bucket), exchanges_ + 1);
}

Failure ShmExchange::late(std::uint32_t task) const {
  const auto guilty = work_->waits_for(task);
  return fail(Errc::kTimeout,
              fmt::format("shared memory of {}: step {}, bucket {} of model {}: local rank {} waited in vain for {}",
                          options_.host, id_.step, task % plan_.buckets.size(), plan_.object, options_.team.rank,
                          guilty ? fmt::format("local rank {}", *guilty) : "a rank that has begun to sum it"));
}

void ShmExchange::abort(const Failure& cause) noexcept {
  const std::lock_guard lock(mutex_);
  if (!cause_ || cause_->code == Errc::kSuperseded) cause_ = cause;
  aborted_ = true;
  if (segment_) segment_->wake_all();
}

// One for all of the host: it is their memory. Where nobody of the host lives on, all of it was lost with them.
Result<> ShmExchange::mend(const Succession& succession, Deadline deadline) {
  const std::uint32_t self = options_.team.rank;
  const std::vector<std::uint32_t>& newcomers = succession.new_on_host;
  if (!succession.first_survivor_on_host) {
    const bool is_first = std::ranges::min(newcomers) == self;
    return is_first ? forget_segments(options_.keeper, clock_, deadline) : Result<>();
  }
  if (!work_ || std::ranges::find(newcomers, self) != newcomers.end()) return {};
  work_->expect_newcomers(exchanges_ + (succession.is_behind ? 1 : 0));
  started_ = begun_;  // what was waited for already is waited for once more: until the newcomers have it, too
  if (succession.first_survivor_on_host == self) work_->mend(newcomers);
  return {};
}

Result<> ShmExchange::go_on(Deadline) {
  const std::lock_guard lock(mutex_);
  if (!cause_) return {};
  if (cause_->code != Errc::kSuperseded) return *cause_;
  cause_.reset();
  aborted_ = false;
  return {};
}

void ShmExchange::take_over(std::uint64_t rounds, const Succession& succession) {
  TUTTI_ASSERT(work_ != nullptr, "a newcomer has its segment");
  exchanges_ = rounds;
  work_->take_over(rounds, /*is_new_memory=*/!succession.first_survivor_on_host);
}

Result<> ShmExchange::not_aborted() const {
  if (!aborted_) return {};
  const std::lock_guard lock(mutex_);
  return *cause_;
}

}  // namespace tutti::worker
