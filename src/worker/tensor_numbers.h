// SPDX-License-Identifier: Apache-2.0
// What the numbers of a tensor come to, in double precision: the square of their length, and their distribution. Piece
// by piece, so that a tensor may lie elsewhere than in one piece of this process' memory.
// Thread safety: functions without state; one thread at a time for an object.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "common/distribution.h"
#include "common/dtype.h"

namespace tutti::worker {

/// REQUIRES (here and below): is_floating(dtype). Not finite if one of the numbers is not.
double sum_of_squares(DType dtype, const std::byte* at, std::size_t elements);

/// Buckets of the same width between the least and the greatest number, as TensorBoard's own are; one where these are
/// equal, none where nothing is finite. So the numbers are passed over twice, and nothing is kept of them.
class DistributionOf {
 public:
  static constexpr std::size_t kBuckets = 30;  // what TensorBoard's page draws

  /// The first pass: every piece once.
  void measure(DType dtype, const std::byte* at, std::size_t elements);
  /// So many zeros, which lie nowhere (of a sparse tensor).
  void measure_zeros(std::uint64_t number);
  /// The second: the same pieces. Zeros that were measured are counted by themselves.
  void count(DType dtype, const std::byte* at, std::size_t elements);
  Distribution finish();

 private:
  template <class Number>
  void measure(std::span<const Number> numbers);
  template <class Number>
  void count(std::span<const Number> numbers);
  void lay_out();
  std::size_t bucket_of(double scaled, std::int32_t guess) const;

  static constexpr std::size_t kTables = 4;  // numbers in a row often fall into one bucket: none waits for the other
  Distribution result_;
  std::uint64_t zeros_ = 0;
  bool laid_out_ = false;
  // Numbers are scaled by a power of two to at most 1: no difference of two overflows, nor does what is divided by it.
  double scale_ = 1, low_ = 0, per_width_ = 0;
  std::array<double, kBuckets + 1> edges_{};  // of the buckets; scaled
  std::array<std::array<std::uint64_t, kBuckets>, kTables> counts_{};
};

}  // namespace tutti::worker
