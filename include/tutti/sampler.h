// SPDX-License-Identifier: Apache-2.0
// tutti's order of the data as a sampler of torch::data, for loaders of the program's own with as many worker threads
// as they like. Thread safety: as a sampler, one thread (the loader's).
#pragma once

#include <torch/data/samplers/base.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

namespace tutti {

namespace worker {
class DataParallelImpl;
class ShardedOrder;
}  // namespace worker

/// Yields this rank's samples of the current epoch. reset(), which a loader calls when an epoch begins, goes to the
/// position up to which batches were *consumed*: what a loader had fetched ahead of that is fetched again.
class ShardedSampler : public torch::data::samplers::Sampler<> {
 public:
  ShardedSampler(worker::DataParallelImpl& parallel, std::size_t samples);
  ~ShardedSampler() override;
  ShardedSampler(ShardedSampler&&) noexcept;

  void reset(std::optional<std::size_t> new_size = std::nullopt) override;
  std::optional<std::vector<std::size_t>> next(std::size_t batch_size) override;
  /// The position is part of tutti's checkpoints; these do nothing.
  void save(torch::serialize::OutputArchive&) const override {}
  void load(torch::serialize::InputArchive&) override {}

 private:
  worker::DataParallelImpl* parallel_;
  std::size_t samples_;
  std::size_t step_ = 0;  ///< within the epoch
  std::unique_ptr<worker::ShardedOrder>
      order_;  ///< of this epoch; made at its first batch, when the batch size is known
};

}  // namespace tutti
