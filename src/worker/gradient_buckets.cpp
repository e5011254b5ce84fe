// SPDX-License-Identifier: Apache-2.0
#include "worker/gradient_buckets.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>

#include "tutti/error.h"

namespace tutti::worker {
namespace {

struct DTypePair {
  at::ScalarType scalar;
  DType dtype;
};
constexpr DTypePair kDTypes[] = {
    {at::kFloat, DType::kFloat32}, {at::kDouble, DType::kFloat64}, {at::kBFloat16, DType::kBFloat16},
    {at::kHalf, DType::kFloat16},  {at::kLong, DType::kInt64},     {at::kInt, DType::kInt32},
    {at::kShort, DType::kInt16},   {at::kChar, DType::kInt8},      {at::kByte, DType::kUInt8},
    {at::kBool, DType::kBool},
};

std::byte* bytes_of(const at::Tensor& flat) {
  return static_cast<std::byte*>(flat.mutable_data_ptr());
}

}  // namespace

DType dtype_of(const at::Tensor& tensor, const std::string& what) {
  for (const DTypePair& pair : kDTypes) {
    if (pair.scalar == tensor.scalar_type()) return pair.dtype;
  }
  throw UsageError(
      fmt::format("{} is {}, which tutti does not exchange; float32, float64, bfloat16 and float16 can be trained",
                  what, c10::toString(tensor.scalar_type())));
}

at::ScalarType scalar_type_of(DType dtype) {
  return std::find_if(std::begin(kDTypes), std::end(kDTypes),
                      [&](const DTypePair& pair) { return pair.dtype == dtype; })
      ->scalar;
}

// Zeros, for the padding between gradients is exchanged with them.
at::Tensor flat_tensor(std::uint64_t elements, const at::TensorOptions& kind, const BucketMemory& memory) {
  const auto size = static_cast<std::int64_t>(elements);
  if (memory == nullptr) return at::zeros({size}, kind);
  return at::from_blob(
      memory.get(), {size}, [memory](void*) {}, kind);
}

GradientBuckets::GradientBuckets(std::vector<Bucket> plan, const std::vector<at::Tensor>& parameters,
                                 std::span<const BucketMemory> memory)
    : plan_(std::move(plan)), gradients_(parameters.size()), bucket_of_(parameters.size()) {
  const at::NoGradGuard no_grad;
  for (std::size_t b = 0; b < plan_.size(); ++b) {
    const Bucket& bucket = plan_[b];
    const at::Tensor& like = parameters[bucket.entries.front().parameter];
    flat_.push_back(
        flat_tensor(bucket.elements, like.options().requires_grad(false), b < memory.size() ? memory[b] : nullptr));
    for (const BucketEntry& entry : bucket.entries) {
      const at::Tensor& parameter = parameters[entry.parameter];
      const bool dense = parameter.is_non_overlapping_and_dense();
      at::Tensor gradient = at::empty({0}, flat_[b].options());
      gradient.set_(flat_[b].storage(), static_cast<std::int64_t>(entry.offset), parameter.sizes(),
                    dense ? parameter.strides() : at::empty_like(parameter, at::MemoryFormat::Contiguous).strides());
      gradients_[entry.parameter] = std::move(gradient);
      bucket_of_[entry.parameter] = static_cast<std::uint32_t>(b);
    }
  }
}

std::byte* GradientBuckets::memory(std::size_t bucket) const {
  return bytes_of(flat_[bucket]);
}

std::uint64_t GradientBuckets::bytes() const noexcept {
  std::uint64_t sum = 0;
  for (const Bucket& bucket : plan_) sum += bucket.elements * size_of(bucket.dtype);
  return sum;
}

void GradientBuckets::take(std::size_t parameter, const at::Tensor& source) {
  const at::NoGradGuard no_grad;
  const at::Tensor& place = gradients_[parameter];
  if (source.is_sparse()) {
    place.zero_();
    place.add_(source);
  } else if (source.data_ptr() != place.data_ptr()) {
    place.copy_(source.detach());
  }
}

void GradientBuckets::take_nothing(std::size_t parameter) {
  const at::NoGradGuard no_grad;
  gradients_[parameter].fill_(-0.0);
}

BufferBuckets::BufferBuckets(std::vector<at::Tensor> buffers) {
  const at::NoGradGuard no_grad;
  std::vector<std::int64_t> elements;
  std::vector<at::TensorOptions> options;
  for (at::Tensor& buffer : buffers) {
    const at::TensorOptions kind = buffer.options().requires_grad(false);
    std::size_t bucket = 0;
    while (bucket < options.size() &&
           !(options[bucket].dtype() == kind.dtype() && options[bucket].device() == kind.device()))
      ++bucket;
    if (bucket == options.size()) {
      options.push_back(kind);
      elements.push_back(0);
    }
    places_.push_back({buffer, bucket, elements[bucket]});
    elements[bucket] += buffer.numel();
  }
  for (std::size_t b = 0; b < options.size(); ++b) flat_.push_back(at::zeros({elements[b]}, options[b]));
}

void BufferBuckets::move_to(std::span<const BucketMemory> memory) {
  for (std::size_t b = 0; b < memory.size(); ++b) {
    flat_[b] = flat_tensor(static_cast<std::uint64_t>(flat_[b].numel()), flat_[b].options(), memory[b]);
  }
}

BucketSpec BufferBuckets::spec(std::size_t bucket) const {
  return {dtype_of(flat_[bucket], "a buffer"), Reduction::kBroadcast,
          static_cast<std::uint64_t>(flat_[bucket].numel())};
}

std::byte* BufferBuckets::memory(std::size_t bucket) const {
  return bytes_of(flat_[bucket]);
}

void BufferBuckets::gather() {
  const at::NoGradGuard no_grad;
  for (const Place& place : places_) {
    flat_[place.bucket].narrow(0, place.offset, place.buffer.numel()).view(place.buffer.sizes()).copy_(place.buffer);
  }
}

void BufferBuckets::scatter() {
  const at::NoGradGuard no_grad;
  for (const Place& place : places_) {
    // variable_data() shares the memory, not the version counter.
    place.buffer.variable_data().copy_(
        flat_[place.bucket].narrow(0, place.offset, place.buffer.numel()).view(place.buffer.sizes()));
  }
}

void BufferBuckets::keep() {
  const at::NoGradGuard no_grad;
  if (kept_.empty()) {
    for (const Place& place : places_) kept_.push_back(place.buffer.clone());
  } else {
    for (std::size_t i = 0; i < kept_.size(); ++i) kept_[i].copy_(places_[i].buffer);
  }
}

void BufferBuckets::restore() {
  const at::NoGradGuard no_grad;
  for (std::size_t i = 0; i < kept_.size(); ++i) places_[i].buffer.variable_data().copy_(kept_[i]);
}

}  // namespace tutti::worker
