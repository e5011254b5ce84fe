// SPDX-License-Identifier: Apache-2.0
#include "tutti/batches.h"

#include <fmt/format.h>

#include "tutti/data_parallel.h"
#include "tutti/error.h"
#include "worker/checkpoints.h"
#include "worker/data_parallel_impl.h"
#include "worker/sharded_order.h"

namespace tutti {

using worker::DataParallelImpl;
using worker::LastBatch;
using worker::ShardedOrder;

namespace {

std::int64_t positive(std::int64_t value, const char* what) {
  if (value > 0) return value;
  throw UsageError(fmt::format("{} is {}, expected at least 1", what, value));
}

/// Ranks as the order of the data counts them: a process that takes several micro-batches in a step plays as many ranks
/// in turn.
int virtual_ranks(DataParallelImpl& parallel, std::int64_t micro_batches) {
  return parallel.session().identity().world_size * static_cast<int>(positive(micro_batches, "micro_batches"));
}

}  // namespace

struct BatchCursor::State {
  State(DataParallel& of, std::size_t samples, std::int64_t per_rank_, std::int64_t epochs_,
        const BatchesOptions& options)
      : parallel(of.impl()),
        per_rank(positive(per_rank_, "the batch size")),
        epochs(epochs_),
        micro_batches(options.micro_batches()),
        ranks(virtual_ranks(parallel, micro_batches)),
        order(samples, static_cast<std::size_t>(per_rank), ranks, parallel.session().seed(),
              options.drop_last() ? LastBatch::kDrop : LastBatch::kWrap) {
    parallel.session().listen_for_stop();
    if (order.steps_per_epoch() == 0) {
      throw UsageError(fmt::format("{} samples make no batch of {} on each of {} ranks", samples, per_rank, ranks));
    }
  }

  int rank() const {
    return parallel.session().identity().rank * static_cast<int>(micro_batches) + static_cast<int>(micro);
  }
  /// `order` holds the epoch of the position.
  void order_epoch() {
    const std::pair wanted(parallel.position().epoch, parallel.position().samples_before);
    if (std::exchange(ordered, wanted) != wanted) parallel.begin_epoch(order);
  }
  /// The position is in an epoch that has a step left, or at the end.
  void find_next_step() {
    while (parallel.position().epoch < epochs) {
      order_epoch();
      if (parallel.position().step_in_epoch < steps()) return;
      parallel.end_epoch();
    }
  }
  std::int64_t steps() const { return static_cast<std::int64_t>(order.steps()); }
  /// Of the whole run.
  std::int64_t all_steps() const {
    const worker::DataPosition& at = parallel.position();
    const auto per_epoch = static_cast<std::int64_t>(order.steps_per_epoch());
    return at.step + steps() - at.step_in_epoch + (epochs - at.epoch - 1) * per_epoch;
  }
  /// What follows the last iteration of a step.
  void finish_step() {
    order_epoch();  // a newcomer may begin here
    const worker::DataPosition& at = parallel.position();
    parallel.begin_boundary();
    parallel.session().advance({at.epoch, epochs, at.step + 1, all_steps()}, order.samples_per_step());
    parallel.show_step(order.samples_per_step());
    parallel.end_step(/*can_rewind=*/true);
    if (at.step_in_epoch == steps()) parallel.end_epoch();
    parallel.session().checkpoints().after_step(parallel);
    parallel.end_boundary();
  }

  DataParallelImpl& parallel;
  const std::int64_t per_rank, epochs, micro_batches;
  const int ranks;
  ShardedOrder order;
  std::pair<std::int64_t, std::int64_t> ordered{-1, 0};  // the epoch that `order` holds, and from which sample on
  std::int64_t micro = 0;
  bool entered = false;
  std::vector<std::size_t> indices;
};

BatchCursor::BatchCursor(DataParallel& parallel, std::size_t samples, std::int64_t per_rank, std::int64_t epochs,
                         BatchesOptions options)
    : state_(std::make_unique<State>(parallel, samples, per_rank, epochs, options)) {}
BatchCursor::~BatchCursor() = default;
BatchCursor::BatchCursor(BatchCursor&&) noexcept = default;

bool BatchCursor::advance() {
  State& s = *state_;
  if (!std::exchange(s.entered, true) && s.parallel.enter_loop()) s.finish_step();
  if (s.parallel.in_iteration()) {
    s.parallel.end_iteration();
    if (++s.micro == s.micro_batches) {
      s.micro = 0;
      s.finish_step();
    }
  }
  s.find_next_step();
  const worker::DataPosition& at = s.parallel.position();
  if (at.epoch >= s.epochs) return false;
  if (s.micro == 0 && s.parallel.stops()) return false;
  s.indices = s.order.indices(static_cast<std::size_t>(at.step_in_epoch), s.rank());
  return true;
}

void BatchCursor::begin_iteration() {
  state_->parallel.begin_iteration(state_->rank(), ends_step());
}

const std::vector<std::size_t>& BatchCursor::indices() const noexcept {
  return state_->indices;
}
std::int64_t BatchCursor::epoch() const noexcept {
  return state_->parallel.position().epoch;
}
bool BatchCursor::begins_step() const noexcept {
  return state_->micro == 0;
}
bool BatchCursor::ends_step() const noexcept {
  return state_->micro + 1 == state_->micro_batches;
}

EpochScope::EpochScope(DataParallel& parallel) : parallel_(parallel) {
  parallel_.impl().session().checkpoints().expect_resumed();
  parallel_.impl().session().listen_for_stop();
}

EpochScope::~EpochScope() {
  // An exception on its way out leaves the position where it was.
  if (std::uncaught_exceptions() == 0 && !stopped()) parallel_.impl().end_epoch();
}

bool EpochScope::stopped() const noexcept {
  return parallel_.impl().session().stopping();
}

void EpochScope::begin_iteration() {
  DataParallelImpl& parallel = parallel_.impl();
  parallel.begin_iteration(parallel.session().identity().rank, /*last_micro_batch=*/true);
}

void EpochScope::end_iteration() {
  DataParallelImpl& parallel = parallel_.impl();
  parallel.end_iteration();
  parallel.show_step(/*samples=*/0);
  parallel.end_step(/*can_rewind=*/false);
  parallel.session().checkpoints().after_step(parallel);
  parallel.stops();
}

ShardedSampler::ShardedSampler(DataParallelImpl& parallel, std::size_t samples)
    : parallel_(&parallel), samples_(samples) {}
ShardedSampler::~ShardedSampler() = default;
ShardedSampler::ShardedSampler(ShardedSampler&&) noexcept = default;

void ShardedSampler::reset(std::optional<std::size_t> new_size) {
  samples_ = new_size.value_or(samples_);
  step_ = static_cast<std::size_t>(parallel_->position().step_in_epoch);
  order_.reset();
}

std::optional<std::vector<std::size_t>> ShardedSampler::next(std::size_t batch_size) {
  const worker::Identity& identity = parallel_->session().identity();
  if (!order_) {
    order_ = std::make_unique<ShardedOrder>(samples_, batch_size, identity.world_size, parallel_->session().seed());
    parallel_->begin_epoch(*order_);
  }
  if (step_ >= order_->steps()) return std::nullopt;
  return order_->indices(step_++, identity.rank);
}

}  // namespace tutti
