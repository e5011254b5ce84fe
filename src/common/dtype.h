// SPDX-License-Identifier: Apache-2.0
// How tensors are seen below the worker: spans of bytes with a dtype, and what a reduction over ranks makes of them.
// Thread safety: values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace tutti {

/// The values are part of the wire format and of checkpoints: they never change.
enum class DType : std::uint8_t {
  kFloat32 = 0,
  kFloat64 = 1,
  kBFloat16 = 2,
  kFloat16 = 3,
  kInt64 = 4,
  kInt32 = 5,
  kInt16 = 6,
  kInt8 = 7,
  kUInt8 = 8,
  kBool = 9,
};
inline constexpr int kDTypeCount = 10;
/// Lets bounded_archive.h refuse what lies above.
constexpr DType last_enumerator(DType) noexcept {
  return DType::kBool;
}

constexpr std::size_t size_of(DType dtype) noexcept {
  constexpr std::size_t sizes[kDTypeCount] = {4, 8, 2, 2, 8, 4, 2, 1, 1, 1};
  return sizes[static_cast<std::size_t>(dtype)];
}
constexpr bool is_floating(DType dtype) noexcept {
  return static_cast<int>(dtype) < 4;
}
/// The safetensors name: "F32", "BF16", "I64", ...
std::string_view name_of(DType dtype) noexcept;
/// The dtype of that safetensors name, if tutti has it.
std::optional<DType> dtype_named(std::string_view name) noexcept;

/// What a bucket's exchange computes, over the ranks' buckets of the same number.
enum class Reduction : std::uint8_t {
  kAverage = 0,    ///< the sum in rank order, the first contribution copied, then one division by the number of ranks
  kSum = 1,        ///< the same without the division
  kBroadcast = 2,  ///< rank 0's bytes
};
constexpr Reduction last_enumerator(Reduction) noexcept {
  return Reduction::kBroadcast;
}

struct BucketSpec {
  DType dtype = DType::kFloat32;
  Reduction reduction = Reduction::kAverage;
  std::uint64_t elements = 0;

  std::uint64_t bytes() const noexcept { return elements * size_of(dtype); }
  template <class Archive>
  void serialize(Archive& archive) {
    archive(dtype, reduction, elements);
  }
  bool operator==(const BucketSpec&) const = default;
};

}  // namespace tutti
