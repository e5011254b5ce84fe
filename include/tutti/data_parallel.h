// SPDX-License-Identifier: Apache-2.0
// DataParallel makes a model's backward() return averaged gradients. The model, the optimizer and the loop stay the
// program's own. Thread safety: the training thread.
#pragma once

#include <ATen/core/Generator.h>
#include <torch/arg.h>
#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>
#include <torch/optim/optimizer.h>
#include <torch/optim/schedulers/lr_scheduler.h>
#include <torch/optim/schedulers/reduce_on_plateau_scheduler.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "tutti/batches.h"
#include "tutti/sampler.h"
#include "tutti/session.h"
#include "tutti/state_view.h"

namespace tutti {

namespace worker {
class DataParallelImpl;
}

struct DataParallelOptions {
  /// Bytes of a full bucket, and of the first and last ones; 0: as configured (bucket_bytes_max, bucket_bytes_first).
  TORCH_ARG(std::uint64_t, bucket_bytes_max) = 0;
  TORCH_ARG(std::uint64_t, bucket_bytes_first) = 0;
  /// Gradients are the ranks' sum instead of their average.
  TORCH_ARG(bool, sum) = false;
  /// Buckets start while backward goes on. Off for models that use a parameter both inside and outside a checkpointed
  /// part.
  TORCH_ARG(bool, overlap) = true;
  /// Buffers (BatchNorm's statistics) follow rank 0's after every exchange.
  TORCH_ARG(bool, broadcast_buffers) = true;
  /// What a gradient that is not finite leads to: skip, halt or ignore; empty: as configured (nan_policy).
  TORCH_ARG(std::string, nan_policy) = "";
  /// Parameters and buffers of these names stay each rank's own.
  TORCH_ARG(std::vector<std::string>, ignore) = {};
};

template <class T>
concept IsOptimizer = std::is_base_of_v<torch::optim::Optimizer, T>;

class DataParallel {
 public:
  /// `model` is a torch::nn::Module, a holder or a shared_ptr of one; it, the optimizers and the Session outlive the
  /// DataParallel. Collective: gives every rank rank 0's parameters and buffers, and checks that all ranks have the
  /// same model and configuration. REQUIRES: the model is on its device. Errors: MismatchError on all ranks, naming the
  /// first difference; UsageError for a model that was wrapped already, a dtype that cannot be exchanged, LBFGS.
  template <class Model, IsOptimizer... Optimizers>
  DataParallel(Session& session, Model& model, Optimizers&... optimizers)
      : DataParallel(session, model, DataParallelOptions(), optimizers...) {}
  template <class Model, IsOptimizer... Optimizers>
  DataParallel(Session& session, Model& model, DataParallelOptions options, Optimizers&... optimizers)
      : DataParallel(session, module_of(model), std::vector<torch::optim::Optimizer*>{&optimizers...},
                     std::move(options)) {}
  DataParallel(Session& session, torch::nn::Module& module, std::vector<torch::optim::Optimizer*> optimizers,
               DataParallelOptions options);
  ~DataParallel();
  DataParallel(const DataParallel&) = delete;
  DataParallel& operator=(const DataParallel&) = delete;

  /// This rank's part of `dataset`, a map-style dataset of torch::data: batches of `per_rank` samples for `epochs`
  /// epochs, going on where a loaded checkpoint stopped. Every rank gets the same number of iterations. A dataset of
  /// single examples is stacked.
  template <class Dataset>
  Batches<std::decay_t<Dataset>> batches(Dataset&& dataset, std::int64_t per_rank, std::int64_t epochs,
                                         BatchesOptions options = {}) {
    return {*this, std::forward<Dataset>(dataset), per_rank, epochs, options};
  }
  /// The same order for a loader of the program's own: `make_data_loader(dataset,
  /// parallel.sampler(dataset.size().value()), 64)`.
  ShardedSampler sampler(std::size_t samples);
  /// Counts a loader's batches as iterations of this run: `for (auto& batch : parallel.consume(*loader))`, once for
  /// each epoch.
  template <class Loader>
  Consumed<Loader> consume(Loader& loader) {
    return {*this, loader};
  }

  /// Random numbers for a sample's transform, the same in every run and on whichever thread: drawn from seed, epoch and
  /// the sample's index. LibTorch's default generator is the training thread's, and a loader's thread must not touch
  /// it.
  at::Generator generator_for(std::size_t sample) const;

  /// While it lives, backward() only accumulates: `{ auto guard = parallel.no_sync(); loss.backward(); }`.
  class NoSync {
   public:
    explicit NoSync(DataParallel& parallel);
    ~NoSync();
    NoSync(const NoSync&) = delete;
    NoSync& operator=(const NoSync&) = delete;

   private:
    DataParallel& parallel_;
    const bool before_;
  };
  [[nodiscard]] NoSync no_sync() { return NoSync(*this); }

  /// After a loop of the program's own, whose ranks may have different numbers of batches (those of batches() do not).
  /// A rank that has none left takes part in the others' exchanges without a contribution, as zeros of which the
  /// average counts one a rank, until all are here; then every rank takes model and optimizers from the last one at
  /// work. Collective. REQUIRES: the ranks exchange as often in each batch. Errors: UsageError within batches() or
  /// consume().
  void join();

  /// Has `scheduler.step()` done and recorded, so that a restored run has the same learning rates. Call it in place of
  /// step().
  void schedule(torch::optim::LRScheduler& scheduler);
  void schedule(torch::optim::ReduceLROnPlateauScheduler& scheduler);
  void step(torch::optim::LRScheduler& scheduler);
  void step(torch::optim::ReduceLROnPlateauScheduler& scheduler, float metric);

  /// Called between iterations of batches(): after each epoch with its number, after every n-th iteration with the
  /// step.
  void at_end_of_epoch(std::function<void(std::int64_t epoch)> f);
  void every(std::int64_t n, std::function<void(std::int64_t step)> f);

  /// Called on every rank, between steps, when the run was asked to stop and batches() or consume() is about to end:
  /// the place for save(). The ranks have 20 seconds together.
  void at_stop(std::function<void()> f);

  // --- checkpoints. With checkpoint_dir and checkpoint_every configured they come by themselves: docs/checkpoints.md.
  /// Goes on from the newest whole checkpoint in checkpoint_dir; collective. False where none is configured or there.
  /// batches() does that by itself when its first batch is asked for; a loop over consume() calls it before it asks for
  /// the epoch to begin with. Covers every DataParallel of the Session. Errors: MismatchError, DataError.
  bool resume();
  /// Rank 0 writes parameters, buffers, optimizer state, schedulers, the session's own state and the position in the
  /// data to `folder/step-NNNNNNNNNNNN/`; collective. Errors: IoError.
  void save(const std::string& folder);
  /// Every rank reads the newest whole checkpoint of `folder`; false where there is none. Errors: MismatchError,
  /// DataError.
  bool load(const std::string& folder);
  /// The program itself loaded into the model (torch::load) before the first step: takes its memory over and gives
  /// every rank rank 0's values again. Collective. Errors: UsageError after the first step.
  void reloaded();

  StateView state() const;
  /// Optimizer steps this run has behind it, by the iterations of batches() or consume().
  std::int64_t steps() const noexcept;
  /// The epoch of the next iteration: where a loop over epochs of the program's own begins, also after load().
  std::int64_t epoch() const noexcept;

  worker::DataParallelImpl& impl() noexcept { return *impl_; }

 private:
  static torch::nn::Module& module_of(torch::nn::Module& module) { return module; }
  template <class M>
  static torch::nn::Module& module_of(std::shared_ptr<M>& module) {
    return *module;
  }
  template <class M>
  static torch::nn::Module& module_of(torch::nn::ModuleHolder<M>& holder) {
    return *holder;
  }

  std::unique_ptr<worker::DataParallelImpl> impl_;
};

}  // namespace tutti
