// SPDX-License-Identifier: Apache-2.0
// Iterating over data as one rank of many. An iteration is the unit in which a run counts, resumes and replays: when
// the loop asks for the next batch, the iteration before it is over. Thread safety: the training thread.
#pragma once

#include <torch/arg.h>
#include <torch/data/datasets/base.h>
#include <torch/data/transforms/stack.h>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

namespace tutti {

class DataParallel;

struct BatchesOptions {
  /// Backwards for one optimizer step. The loop then steps where batches.ends_step() says so; tutti averages over the
  /// ranks, the program over its own micro-batches. A process alone with n of them sees what n ranks with one each
  /// would.
  TORCH_ARG(std::int64_t, micro_batches) = 1;
  /// Leaves the samples out that do not fill a batch on every rank; otherwise the epoch's first samples fill it up.
  TORCH_ARG(bool, drop_last) = false;
};

/// Which samples come next; what batches() is without its dataset.
class BatchCursor {
 public:
  BatchCursor(DataParallel& parallel, std::size_t samples, std::int64_t per_rank, std::int64_t epochs,
              BatchesOptions options);
  ~BatchCursor();
  BatchCursor(BatchCursor&&) noexcept;

  /// Ends the iteration that is running and finds the next one's samples; false at the end. Throws UsageError when an
  /// iteration that should have exchanged gradients did not.
  bool advance();
  const std::vector<std::size_t>& indices() const noexcept;
  /// The batch is fetched: from here on random numbers are those of this step and rank.
  void begin_iteration();
  std::int64_t epoch() const noexcept;
  bool begins_step() const noexcept;
  bool ends_step() const noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

namespace detail {
template <class Batch>
struct Stacked {
  using type = Batch;
};
template <class Data, class Target>
struct Stacked<std::vector<torch::data::Example<Data, Target>>> {
  using type = torch::data::Example<Data, Target>;
};
}  // namespace detail

template <class Dataset>
class Batches {
 public:
  using Batch = typename detail::Stacked<typename Dataset::BatchType>::type;

  template <class D>
  Batches(DataParallel& parallel, D&& dataset, std::int64_t per_rank, std::int64_t epochs, BatchesOptions options)
      : dataset_(std::forward<D>(dataset)), cursor_(parallel, dataset_.size().value(), per_rank, epochs, options) {}

  class iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = Batch;
    using difference_type = std::ptrdiff_t;
    explicit iterator(Batches* batches) : batches_(batches) { ++*this; }
    Batch& operator*() const { return batches_->batch_; }
    iterator& operator++() {
      if (!batches_->fetch()) batches_ = nullptr;
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return batches_ == nullptr; }

   private:
    Batches* batches_;
  };
  iterator begin() { return iterator(this); }
  std::default_sentinel_t end() const { return {}; }

  std::int64_t epoch() const noexcept { return cursor_.epoch(); }
  /// This micro-batch is the first, the last of its optimizer step.
  bool begins_step() const noexcept { return cursor_.begins_step(); }
  bool ends_step() const noexcept { return cursor_.ends_step(); }

 private:
  bool fetch() {
    if (!cursor_.advance()) return false;
    if constexpr (std::is_same_v<Batch, typename Dataset::BatchType>) {
      batch_ = dataset_.get_batch(cursor_.indices());
    } else {
      batch_ = torch::data::transforms::Stack<Batch>().apply_batch(dataset_.get_batch(cursor_.indices()));
    }
    cursor_.begin_iteration();
    return true;
  }

  Dataset dataset_;
  BatchCursor cursor_;
  Batch batch_;
};

/// What consume() needs of an epoch that a loader of the program's own walks through.
class EpochScope {
 public:
  explicit EpochScope(DataParallel& parallel);
  /// Left early, the epoch counts as over.
  ~EpochScope();
  EpochScope(const EpochScope&) = delete;
  EpochScope& operator=(const EpochScope&) = delete;
  void begin_iteration();
  void end_iteration();
  /// The run was asked to stop: no iteration follows.
  bool stopped() const noexcept;

 private:
  DataParallel& parallel_;
};

template <class Loader>
class Consumed {
 public:
  using Inner = decltype(std::declval<Loader&>().begin());
  Consumed(DataParallel& parallel, Loader& loader) : parallel_(parallel), loader_(loader) {}

  class iterator {
   public:
    iterator(DataParallel& parallel, Loader& loader)
        : scope_(std::make_unique<EpochScope>(parallel)), at_(loader.begin()), end_(loader.end()) {
      begin();
    }
    decltype(auto) operator*() { return *at_; }
    iterator& operator++() {
      scope_->end_iteration();
      if (scope_->stopped()) return *this;
      ++at_;
      begin();
      return *this;
    }
    bool operator==(std::default_sentinel_t) const { return scope_->stopped() || at_ == end_; }

   private:
    void begin() {
      if (at_ != end_ && !scope_->stopped()) scope_->begin_iteration();
    }
    std::unique_ptr<EpochScope> scope_;
    mutable Inner at_;
    mutable Inner end_;
  };
  iterator begin() { return iterator(parallel_, loader_); }
  std::default_sentinel_t end() const { return {}; }

 private:
  DataParallel& parallel_;
  Loader& loader_;
};

}  // namespace tutti
