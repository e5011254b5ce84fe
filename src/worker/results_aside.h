// SPDX-License-Identifier: Apache-2.0
// Where an engine (Gloo, NCCL) writes its results. A collective that is aborted leaves garbage behind: whoever is to
// outlive a loss has them written aside, so that the buckets hold their inputs until the whole exchange is over. That
// costs the gradients' bytes once more. Thread safety: the training thread.
#pragma once

#include <ATen/Functions.h>

#include <cstdint>
#include <utility>
#include <vector>

namespace tutti::worker {

class ResultsAside {
 public:
  /// Otherwise the results are written into the buckets themselves.
  explicit ResultsAside(bool aside) : aside_(aside) {}

  /// `buckets`: one-dimensional, on any device.
  void open(std::vector<at::Tensor> buckets) {
    inputs_ = std::move(buckets);
    started_.clear();
    renew();
  }
  /// The bucket's input is there: where its result is to be written.
  const at::Tensor& start(std::uint32_t bucket) {
    started_.push_back(bucket);
    return results_[bucket];
  }
  const at::Tensor& input(std::uint32_t bucket) const { return inputs_[bucket]; }
  const at::Tensor& result(std::uint32_t bucket) const { return results_[bucket]; }
  /// All results are there: they replace their inputs. Returns the buckets in the order they were started in. On a GPU:
  /// in the current stream's order.
  std::vector<std::uint32_t> finish() {
    for (const std::uint32_t bucket : started_) {
      if (aside_) inputs_[bucket].copy_(results_[bucket], /*non_blocking=*/true);
    }
    return std::exchange(started_, {});
  }
  /// The exchange was aborted: the buckets to be started again, in their order. Its collectives may still write where
  /// they were told to, which is nobody's any more.
  std::vector<std::uint32_t> begin_again() {
    renew();
    return std::exchange(started_, {});
  }

 private:
  void renew() {
    results_ = inputs_;
    if (!aside_) return;
    for (at::Tensor& result : results_) result = at::empty_like(result);
  }

  const bool aside_;
  std::vector<at::Tensor> inputs_, results_;
  std::vector<std::uint32_t> started_;
};

}  // namespace tutti::worker
