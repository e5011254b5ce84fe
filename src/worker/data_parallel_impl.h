// SPDX-License-Identifier: Apache-2.0
// What a DataParallel holds: the model's reducer and its exchange, the position in the data, what a checkpoint takes
// along. Thread safety: the training thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tutti/data_parallel.h"
#include "worker/data_position.h"
#include "worker/exchange.h"
#include "worker/parameter_table.h"
#include "worker/reducer.h"
#include "worker/session_impl.h"

namespace tutti::worker {

/// A scheduler and the arguments of each step() it was given. LibTorch's schedulers cannot be saved: a restore replays
/// the steps.
struct Schedule {
  void* scheduler = nullptr;  ///< the user's, for finding it again
  std::function<void(float)> step;
  std::vector<float> metrics;

  void advance(float metric) {
    step(metric);
    metrics.push_back(metric);
  }
};

class DataParallelImpl {
 public:
  DataParallelImpl(SessionImpl& session, torch::nn::Module& module, std::vector<torch::optim::Optimizer*> optimizers,
                   DataParallelOptions options);
  ~DataParallelImpl();

  SessionImpl& session() noexcept { return session_; }
  const std::vector<torch::optim::Optimizer*>& optimizers() const noexcept { return optimizers_; }
  StateView state() const { return StateView(module_, optimizers_); }
  DataPosition& position() noexcept { return position_; }
  /// An iteration that the loop is still in counts as done: what it changed is in the state.
  std::int64_t steps_done() const noexcept { return position_.step + (in_iteration_ ? 1 : 0); }

  /// False while no_sync() holds.
  bool exchanging() const noexcept { return !reducer_ || reducer_->exchanging(); }
  void set_exchanging(bool exchanging) noexcept;
  /// Null where nothing is exchanged.
  Reducer* reducer() noexcept { return reducer_.get(); }

  // --- iterations
  /// `rank` draws the random numbers; `last_micro_batch` is the one whose backward exchanges.
  void begin_iteration(int rank, bool last_micro_batch);
  /// Throws UsageError where no gradient was exchanged though one should have been.
  void end_iteration();
  bool in_iteration() const noexcept { return in_iteration_; }
  /// An optimizer step is done, an epoch is: the position moves on, and what the program asked for is called.
  void end_step();
  void end_epoch();

  Schedule& schedule_of(void* scheduler, const char* what);
  std::vector<Schedule>& schedules() noexcept { return schedules_; }
  void at_end_of_epoch(std::function<void(std::int64_t)> f) { at_end_of_epoch_.push_back(std::move(f)); }
  void every(std::int64_t n, std::function<void(std::int64_t)> f) { every_.emplace_back(n, std::move(f)); }

  void reloaded();

 private:
  std::vector<NamedTensor> trained_parameters() const;
  std::vector<NamedTensor> followed_buffers() const;
  ParameterTable table() const;
  void agree();
  void adopt_rank_0();
  void make_reducer();
  Result<std::vector<std::uint32_t>> agree_on_order(std::vector<std::uint32_t> measured, Deadline deadline);
  void check_frozen() const;

  SessionImpl& session_;
  torch::nn::Module& module_;
  const std::vector<torch::optim::Optimizer*> optimizers_;
  const DataParallelOptions options_;
  const std::uint32_t object_;
  std::unique_ptr<Exchange> exchange_;
  std::unique_ptr<Reducer> reducer_;  // null where nothing is exchanged
  std::vector<NamedTensor> frozen_;
  DataPosition position_;
  bool in_iteration_ = false;
  bool expects_exchange_ = false;
  std::uint64_t exchanges_before_ = 0;
  std::vector<Schedule> schedules_;
  std::vector<std::function<void(std::int64_t)>> at_end_of_epoch_;
  std::vector<std::pair<std::int64_t, std::function<void(std::int64_t)>>> every_;
};

}  // namespace tutti::worker
