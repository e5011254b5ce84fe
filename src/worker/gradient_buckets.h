// SPDX-License-Identifier: Apache-2.0
// The flat memory of gradients and of the model's buffers, and the tensors that look into it.
// Thread safety: the training thread.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/dtype.h"
#include "worker/bucket_plan.h"
#include "worker/exchange.h"

namespace tutti::worker {

/// tutti's name of a LibTorch dtype. Throws UsageError naming `what` for one that cannot be exchanged (complex,
/// quantised).
DType dtype_of(const at::Tensor& tensor, const std::string& what);
at::ScalarType scalar_type_of(DType dtype);

/// `elements` zeros of the kind of `like`, over `memory` where there is some. The tensor holds the memory.
at::Tensor flat_tensor(std::uint64_t elements, const at::TensorOptions& kind, const BucketMemory& memory);

/// The buckets of a plan, and each parameter's gradient in them: a tensor over the bucket's storage with the
/// parameter's sizes and strides.
class GradientBuckets {
 public:
  /// `parameters` in the order the plan counts them in; `memory` of each bucket, zeros, or fewer: LibTorch's then.
  GradientBuckets(std::vector<Bucket> plan, const std::vector<at::Tensor>& parameters,
                  std::span<const BucketMemory> memory);

  std::size_t size() const noexcept { return plan_.size(); }
  const Bucket& plan(std::size_t bucket) const { return plan_[bucket]; }
  std::byte* memory(std::size_t bucket) const;
  std::uint64_t bytes() const noexcept;
  /// The gradient's place, as the tensor that becomes param.grad().
  const at::Tensor& gradient(std::size_t parameter) const { return gradients_[parameter]; }
  std::uint32_t bucket_of(std::size_t parameter) const { return bucket_of_[parameter]; }
  /// Copies `source` (dense or sparse) into the parameter's place, unless it lies there already.
  void take(std::size_t parameter, const at::Tensor& source);
  /// Fills the parameter's place with -0.0.
  void take_nothing(std::size_t parameter);

 private:
  std::vector<Bucket> plan_;
  std::vector<at::Tensor> flat_;
  std::vector<at::Tensor> gradients_;
  std::vector<std::uint32_t> bucket_of_;
};

/// The model's buffers (BatchNorm's statistics) on their way from rank 0 to the others: one flat copy for each dtype
/// and device.
class BufferBuckets {
 public:
  explicit BufferBuckets(std::vector<at::Tensor> buffers);

  std::size_t size() const noexcept { return flat_.size(); }
  /// Moves the flat copies to `memory`, one piece for each of them.
  void move_to(std::span<const BucketMemory> memory);
  BucketSpec spec(std::size_t bucket) const;
  std::byte* memory(std::size_t bucket) const;
  /// Model to flat copies.
  void gather();
  /// Flat copies to model, without telling autograd: a graph that saved a buffer is still to be walked.
  void scatter();
  /// Keeps the model's present ones; gives them back to the model.
  void keep();
  void restore();

 private:
  struct Place {
    at::Tensor buffer;
    std::size_t bucket = 0;
    std::int64_t offset = 0;
  };
  std::vector<Place> places_;
  std::vector<at::Tensor> flat_;
  std::vector<at::Tensor> kept_;  ///< by place
};

}  // namespace tutti::worker
