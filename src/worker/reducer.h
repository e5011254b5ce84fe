// SPDX-License-Identifier: Apache-2.0
// From backward to averaged gradients, for one model. Gradients live permanently in flat buckets: param.grad() shares
// the bucket's storage, and is no autograd view of it (LibTorch's zero_grad() throws on views). Backward finishes a
// parameter -> its hook puts the gradient into its bucket -> a full bucket starts its exchange -> at the end of
// backward the rest starts and all is waited for.
//
// The first exchange is laid out by the reverse order of the parameters; after it the buckets are laid out anew, once,
// by the order in which rank 0 saw the gradients come.
//
// A parameter without a gradient on this rank contributes -0.0, the one number that changes no sum, not even in the
// sign of a zero. Which parameters had a gradient anywhere travels as one more bucket of one number each, and with them
// what the ranks decide together (step_votes.h); a parameter whose gradient nobody had stays undefined. A gradient that
// is not finite on one rank makes all gradients undefined on all, which an optimizer leaves alone. Thread safety: the
// thread that calls backward; another one inside at the same time is an error.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "common/event.h"
#include "common/log.h"
#include "worker/birthplaces.h"
#include "worker/bucket_plan.h"
#include "worker/exchange.h"
#include "worker/gradient_buckets.h"
#include "worker/segment_allocator.h"
#include "worker/step_votes.h"

namespace tutti::worker {

class BackwardScope;

/// Given the order in which this rank's gradients came, returns rank 0's. Collective.
using AgreeOnOrder = std::function<Result<std::vector<std::uint32_t>>(std::vector<std::uint32_t>, Deadline)>;

struct ReducerOptions {
  std::string name;  ///< "model 0", for messages
  std::uint32_t object = 0;
  int rank = 0, world_size = 1;
  Reduction reduction = Reduction::kAverage;
  BucketLimits limits;
  bool overlap = true;          ///< false: every bucket starts at the end of backward
  bool born_in_place = false;   ///< large gradients are allocated in the exchange's memory, where it has spares
  AgreeOnOrder agree_on_order;  ///< null: the buckets stay as they are
  /// Answers a kSuperseded of the exchange: when it succeeds, what was started goes on. Null: that is the end.
  std::function<Result<>()> regroup;
  NanPolicy nan_policy = NanPolicy::kSkip;
  std::function<Wishes()> wishes;               ///< that this rank was asked for; null: never
  std::function<void(const Outcome&)> decided;  ///< told at the end of each exchange; null: nobody
  std::function<void()> exchanged;              ///< the results are in place; null: nobody waits for that
  std::function<Result<>()> await_cause;        ///< before this rank tells of another's fault; null: it does not wait
};

/// How far a reducer is, for one that takes a lost one's place.
struct ReducerProgress {
  std::vector<std::uint32_t> order;  ///< of the parameters in the buckets
  std::uint32_t plan = 0;            ///< its number
  std::uint64_t exchanges = 0;       ///< finished
  std::uint64_t rounds = 0;          ///< of them, with this plan
  std::uint64_t made_again = 0;      ///< steps, after the program went back to a checkpoint
  int skipped_in_a_row = 0;          ///< steps with gradients that were not finite
};

/// A tensor of the model, by its dotted name.
struct NamedTensor {
  std::string name;
  at::Tensor tensor;
};

class Reducer {
 public:
  /// `parameters` are those that require a gradient, each tensor once; `buffers` follow rank 0's after each exchange.
  /// Everything handed in by reference outlives the Reducer. Throws UsageError where a parameter has a hook already.
  Reducer(std::vector<NamedTensor> parameters, std::vector<NamedTensor> buffers, Exchange& exchange,
          BackwardScope& scope, ReducerOptions options, EventSink& events, const Clock& clock, Logger log);
  /// Takes the hooks away; gradients stay where they are.
  ~Reducer();
  Reducer(const Reducer&) = delete;
  Reducer& operator=(const Reducer&) = delete;

  /// Lays the buckets out and tells the other side. Collective.
  Result<> open(Deadline deadline);
  /// The same in place of a lost rank: what open() and the exchanges so far have made of the buckets.
  Result<> open_as(const ReducerProgress& progress, const Succession& succession, Deadline deadline);
  ReducerProgress progress() const;
  /// The buckets are laid out for good.
  bool is_settled() const noexcept { return settled_; }
  /// Whether backwards exchange (no_sync: false).
  void set_exchanging(bool exchanging) noexcept { exchanging_ = exchanging; }
  bool exchanging() const noexcept { return exchanging_; }
  /// The step that the next exchange belongs to; exchanges within it are counted from 0.
  void begin_step(std::uint64_t step) noexcept;
  /// The next step is one that was made already, `steps` ago: its exchanges are new ones all the same.
  void rewind(std::uint64_t steps) noexcept { made_again_ += steps; }
  std::uint64_t exchanges() const noexcept { return exchanges_; }
  /// The order by which the buckets are laid out, once it is for good.
  std::vector<std::uint32_t> settled_order() const { return settled_ ? order_ : std::vector<std::uint32_t>(); }
  /// Lays the buckets out, for good, by the order that the run had from which this one goes on. Collective; without
  /// effect once there was an exchange. Errors: kBadData where that is no order of these parameters.
  Result<> settle(const std::vector<std::uint32_t>& ready_order, Deadline deadline);
  std::uint32_t object() const noexcept { return options_.object; }
  /// The parameters' memory after a load into the model; refused (UsageError) once a step was taken.
  void accept_moved_parameters();
  std::uint64_t gradient_bytes() const noexcept { return buckets_ ? buckets_->bytes() : 0; }

  /// An exchange of the others in which this rank has no part: it contributes nothing and says that it is done.
  Result<Outcome> take_part(Deadline deadline);
  /// The rank whose state is the newest when all are done: the first that was not in the exchange before.
  int last_at_work() const noexcept { return last_at_work_; }

  // --- called by the hooks and the scope
  void on_gradient(std::size_t parameter);
  /// Starts what has not started and waits for all of it. Errors are failures of the exchange.
  Result<> finish(Deadline deadline);
  /// Forgets a backward that ended by an exception; true if a part of it was already on its way to the others.
  bool reset() noexcept;

 private:
  struct Parameter {
    std::string name;
    at::Tensor tensor;
    const void* data = nullptr;  ///< where the tensor's memory was when it was wrapped
    std::uint32_t bucket = 0;
    std::optional<std::uint32_t> range;  ///< of the exchange's plan, if it may lie apart from the bucket
    bool ready = false;                  ///< its gradient of this backward lies in the bucket
    bool told_missing = false;
  };
  class Hook;

  Result<> lay_out(std::vector<std::uint32_t> ready_order, Deadline deadline);
  ExchangePlan describe(const std::vector<Bucket>& buckets) const;
  void move_gradients(GradientBuckets& to);
  /// Gradients that may stay where LibTorch allocated them, if that is in the exchange's memory.
  void plan_birthplaces(ExchangePlan& plan, const std::vector<Bucket>& buckets);
  void offer_birthplaces(const ExchangePlan& plan);
  bool may_stay(std::size_t parameter, const at::Tensor& gradient) const;
  void use_bucket(std::size_t parameter);
  void tell_where(std::size_t parameter, const at::Tensor& gradient);
  /// By the order that was measured in the first exchange.
  Result<> lay_out_anew(Deadline deadline);

  void set_hooks();
  void remove_hooks() noexcept;
  void check_unchanged(const Parameter& parameter) const;
  void put_into_bucket(std::size_t parameter);
  void start_ready_buckets();
  void start_next_bucket();
  void collect_the_rest();
  Result<> exchange_all(Deadline deadline);
  std::uint32_t bucket_count() const;
  /// After the exchange: what all said is done.
  Result<> decide();
  void adopt_results();
  void leave_step_out();
  Failure halted() const;
  std::string describe(const Outcome::NotFinite& found) const;
  void drop_gradients() noexcept;
  void look_for_nan(std::size_t parameter);
  void ask_for_nan();
  std::optional<std::uint32_t> first_not_finite();
  void keep_buffers();
  double* presence() const { return static_cast<double*>(presence_.mutable_data_ptr()); }
  std::span<double> votes() const { return {presence() + parameters_.size(), votes_in(options_.world_size)}; }
  std::uint64_t step() const noexcept { return id_.step - made_again_; }
  void record(EventKind kind, std::uint32_t bucket = 0, std::uint64_t bytes = 0) const noexcept;

  // constant after construction
  std::vector<PlannedParameter> planned_;
  std::vector<at::Tensor> tensors_;  ///< the parameters
  Exchange& exchange_;
  BackwardScope& scope_;
  const ReducerOptions options_;
  EventSink& events_;
  const Clock& clock_;
  const Logger log_;

  // owned by the thread that calls backward
  std::vector<Parameter> parameters_;
  std::uint32_t plans_ = 0;           ///< that were made so far
  std::vector<std::uint32_t> order_;  ///< by which they are laid out
  bool settled_ = false;              ///< the buckets are laid out for good
  std::uint64_t exchanges_before_plan_ = 0;
  std::unique_ptr<GradientBuckets> buckets_;
  BufferBuckets buffers_;
  at::Tensor presence_;                  ///< by parameter: 1 where this rank has a gradient; then the votes
  std::shared_ptr<Birthplaces> births_;  ///< null: gradients are copied into their buckets
  std::unique_ptr<AllocateIn> allocates_;
  std::vector<std::uint32_t> missing_;   ///< by bucket: entries not yet in it
  std::vector<std::uint32_t> measured_;  ///< parameters in the order in which the first exchange's gradients came
  std::uint32_t next_to_start_ = 0;
  bool active_ = false;  ///< between the first hook of an exchanging backward and its end
  bool exchanging_ = true;
  ExchangeId id_;                 ///< ascends
  std::uint64_t made_again_ = 0;  ///< steps, by which the exchange's is ahead of the program's
  bool stepped_by_iteration_ = false;
  std::uint64_t exchanges_ = 0;
  NanGuard nan_guard_;
  std::optional<std::uint32_t> not_finite_;                    ///< the first parameter of this backward, on CPU
  std::vector<std::pair<std::uint32_t, at::Tensor>> checked_;  ///< on a GPU: whether it is finite, once it is known
  bool buffers_kept_ = false;                                  ///< those of this iteration's start
  bool done_ = false;                                          ///< this rank has no more data
  Outcome outcome_;                                            ///< of the last exchange
  int last_at_work_ = 0;
  std::optional<Failure> failure_;  ///< of a start inside a hook; told at the end of backward
};

}  // namespace tutti::worker
