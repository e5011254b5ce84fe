// SPDX-License-Identifier: Apache-2.0
// What a DataParallel holds: the model's reducer and its exchange, the position in the data, what a checkpoint takes
// along. Thread safety: the training thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tutti/data_parallel.h"
#include "worker/data_position.h"
#include "worker/exchange.h"
#include "worker/gradient_watch.h"
#include "worker/parameter_table.h"
#include "worker/reducer.h"
#include "worker/replica_check.h"
#include "worker/session_impl.h"
#include "worker/snapshot.h"

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

class DataParallelImpl final : private Participant {
 public:
  DataParallelImpl(SessionImpl& session, torch::nn::Module& module, std::vector<torch::optim::Optimizer*> optimizers,
                   DataParallelOptions options);
  ~DataParallelImpl() override;

  SessionImpl& session() noexcept { return session_; }
  const std::vector<torch::optim::Optimizer*>& optimizers() const noexcept { return optimizers_; }
  const DataParallelOptions& options() const noexcept { return options_; }
  StateView state() const { return StateView(module_, optimizers_); }
  const DataPosition& position() const noexcept { return position_; }
  /// `order` is to hold the position's epoch.
  void begin_epoch(ShardedOrder& order) { worker::begin_epoch(order, position_); }
  /// Of a checkpoint. Exchanges that are made again are new ones to the others.
  void set_position(const DataPosition& position) noexcept;
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
  /// The step at the position is done, of so many samples of all ranks (0: unknown): for TensorBoard, if it is wanted.
  void show_step(std::size_t samples);
  /// An optimizer step is done, an epoch is: the position moves on, and what the program asked for is called. A loop
  /// that can be rewound finds itself at a checkpoint's position where the ranks' parameters had come to differ.
  void end_step(bool can_rewind);
  void end_epoch();

  // --- a loop over batches(), which a newcomer can enter in the middle
  /// Before its first iteration. True: the step at the position is done, but for what follows it (end_step()).
  bool enter_loop();
  /// What follows a step is begun, is over.
  void begin_boundary();
  void end_boundary() noexcept;
  /// Between steps: whether the run stops here, on every rank. What the program asked for is then called, once.
  bool stops();

  Schedule& schedule_of(void* scheduler, const char* what);
  std::vector<Schedule>& schedules() noexcept { return schedules_; }
  void at_end_of_epoch(std::function<void(std::int64_t)> f) { at_end_of_epoch_.push_back(std::move(f)); }
  void at_stop(std::function<void()> f) { at_stop_.push_back(std::move(f)); }
  void every(std::int64_t n, std::function<void(std::int64_t)> f) { every_.emplace_back(n, std::move(f)); }

  void reloaded();
  void join();

  // --- the comparison of all ranks' parameters
  /// Where checkpoints were last written or read: what a rank that differs makes all go back to.
  void set_checkpoint_folder(const std::string& folder) { checkpoint_folder_ = folder; }
  /// Collective. A checkpoint is to hold what all ranks agree on; false: the step's end will deal with it.
  bool may_save();

 private:
  std::optional<std::string> cannot_go_on() const override;
  Result<> mend(const Succession& succession, Deadline deadline) override {
    return exchange_->mend(succession, deadline);
  }
  std::uint64_t exchanges() const override { return reducer_->exchanges(); }
  std::vector<std::span<const std::byte>> give_state() override;
  std::uint64_t state_bytes_max() const override;
  Result<> take_state(StateReceiver::State state, const Succession& succession) override;
  Result<> go_on(Deadline deadline) override;
  void part() noexcept;
  void remember_start(bool copies);
  std::uint32_t replica_hash() const;
  std::vector<std::string> gather_hashes();
  bool is_check_due() const noexcept;
  /// Collective. Goes back to the checkpoint (true), or raises, where the ranks differ.
  bool check_replicas(bool can_rewind);
  [[noreturn]] void halt_by_replicas(const ReplicaVerdict& verdict, const std::string& what);

  std::vector<double> learning_rates() const;
  std::vector<NamedTensor> trained_parameters() const;
  std::vector<NamedTensor> followed_buffers() const;
  const std::string& nan_policy() const;
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
  const int exceptions_at_start_;
  std::unique_ptr<Exchange> exchange_;
  std::unique_ptr<Reducer> reducer_;          // null where nothing is exchanged
  std::unique_ptr<GradientWatch> gradients_;  // where TensorBoard is told
  std::vector<NamedTensor> frozen_;
  DataPosition position_;
  std::string checkpoint_folder_;
  bool replicas_differ_ = false;  // found while saving
  bool in_iteration_ = false;
  bool in_step_ = false;  // from its first iteration until it is over: it may have several
  bool in_loop_ = false, in_boundary_ = false;
  StartOfStep start_;               // of the step that is under way, or that the boundary follows
  Member::Count start_count_;       // of the collectives of a newcomer that begins there
  bool began_at_boundary_ = false;  // a newcomer
  struct Given {                    // to newcomers, while it is on its way
    Snapshot snapshot;
    TensorHeader header;
  };
  std::unique_ptr<Given> given_;
  bool expects_exchange_ = false;
  std::uint64_t exchanges_before_ = 0;
  std::vector<Schedule> schedules_;
  std::vector<std::function<void(std::int64_t)>> at_end_of_epoch_;
  std::vector<std::function<void()>> at_stop_;
  std::vector<std::pair<std::int64_t, std::function<void(std::int64_t)>>> every_;
};

}  // namespace tutti::worker
