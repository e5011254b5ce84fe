// SPDX-License-Identifier: Apache-2.0
#include "worker/tensor_numbers.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ps/convert.h"
#include "ps/finite.h"

namespace tutti::worker {
namespace {

constexpr std::size_t kBlock = 2048;  // elements: a block stays in the first-level cache while it is looked at
constexpr std::size_t kLanes = 16;    // sums of their own: they become vectors, and hide how long an addition takes

/// Calls `f` with each block's numbers, as float or double.
template <class F>
void for_each_block(DType dtype, const std::byte* at, std::size_t elements, const F& f) {
  std::array<float, kBlock> widened;
  for (std::size_t begin = 0; begin < elements; begin += kBlock) {
    const std::size_t size = std::min(kBlock, elements - begin);
    const std::byte* const block = at + begin * size_of(dtype);
    if (dtype == DType::kFloat64) {
      f(std::span(reinterpret_cast<const double*>(block), size));
    } else if (dtype == DType::kFloat32) {
      f(std::span(reinterpret_cast<const float*>(block), size));
    } else {
      const std::span into = std::span(widened).first(size);
      ps::widen(dtype, {reinterpret_cast<const std::uint16_t*>(block), size}, into);
      f(std::span<const float>(into));
    }
  }
}

template <class Number>
constexpr DType dtype_of() {
  return sizeof(Number) == sizeof(double) ? DType::kFloat64 : DType::kFloat32;
}

/// The finite ones of `numbers`, in `room` if these are not all.
template <class Number>
std::span<const Number> finite_of(std::span<const Number> numbers, std::array<Number, kBlock>& room) {
  if (ps::all_finite(dtype_of<Number>(), std::as_bytes(numbers).data(), numbers.size())) return numbers;
  const auto end = std::ranges::copy_if(numbers, room.begin(), [](Number x) { return std::isfinite(x); }).out;
  return {room.begin(), end};
}

/// The parts of a sum, added.
double total(const std::array<double, kLanes>& lanes) {
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

/// `f(lane, number)` for all numbers, in an order that vectors can keep.
template <class Number, class F>
void for_each_in_lanes(std::span<const Number> numbers, const F& f) {
  const std::size_t whole = numbers.size() / kLanes * kLanes;
  for (std::size_t i = 0; i < whole; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) f(lane, static_cast<double>(numbers[i + lane]));
  }
  for (std::size_t i = whole; i < numbers.size(); ++i) f(i - whole, static_cast<double>(numbers[i]));
}

template <class Number>
double sum_of_squares(std::span<const Number> numbers) {
  std::array<double, kLanes> squares{};
  for_each_in_lanes(numbers, [&](std::size_t lane, double x) { squares[lane] += x * x; });
  return total(squares);
}

}  // namespace

double sum_of_squares(DType dtype, const std::byte* at, std::size_t elements) {
  double sum = 0;
  for_each_block(dtype, at, elements, [&](auto numbers) { sum += sum_of_squares(numbers); });
  return sum;
}

void DistributionOf::measure(DType dtype, const std::byte* at, std::size_t elements) {
  for_each_block(dtype, at, elements, [this](auto numbers) { measure(numbers); });
}

template <class Number>
void DistributionOf::measure(std::span<const Number> numbers) {
  std::array<Number, kBlock> room;
  const std::span<const Number> finite = finite_of(numbers, room);
  result_.not_finite += numbers.size() - finite.size();
  if (finite.empty()) return;
  std::array<double, kLanes> least, greatest, sums{}, squares{};
  least.fill(static_cast<double>(finite.front()));
  greatest = least;
  for_each_in_lanes(finite, [&](std::size_t lane, double x) {
    least[lane] = x < least[lane] ? x : least[lane];
    greatest[lane] = x > greatest[lane] ? x : greatest[lane];
    sums[lane] += x;
    squares[lane] += x * x;
  });
  const double min = *std::ranges::min_element(least), max = *std::ranges::max_element(greatest);
  result_.min = result_.finite == 0 ? min : std::min(min, result_.min);
  result_.max = result_.finite == 0 ? max : std::max(max, result_.max);
  result_.finite += finite.size();
  result_.sum += total(sums);
  result_.sum_squares += total(squares);
}

void DistributionOf::measure_zeros(std::uint64_t number) {
  if (number == 0) return;
  result_.min = result_.finite == 0 ? 0 : std::min(0.0, result_.min);
  result_.max = result_.finite == 0 ? 0 : std::max(0.0, result_.max);
  result_.finite += number;
  zeros_ += number;
}

void DistributionOf::lay_out() {
  laid_out_ = true;
  if (result_.min == result_.max) return;  // nothing is to be told apart
  int exponent = 0;
  std::frexp(std::max(std::abs(result_.min), std::abs(result_.max)), &exponent);
  scale_ = std::ldexp(1.0, std::min(-exponent, std::numeric_limits<double>::max_exponent - 1));
  low_ = result_.min * scale_;
  const double width = result_.max * scale_ - low_;
  per_width_ = kBuckets / width;
  for (std::size_t i = 0; i < kBuckets; ++i) edges_[i] = low_ + width * (static_cast<double>(i) / kBuckets);
  edges_[kBuckets] = std::numeric_limits<double>::infinity();  // what is `max` belongs to the last bucket
  for (std::size_t i = 1; i < kBuckets; ++i) result_.limits.push_back(edges_[i] / scale_);
}

void DistributionOf::count(DType dtype, const std::byte* at, std::size_t elements) {
  if (!laid_out_) lay_out();
  if (result_.min == result_.max) return;
  for_each_block(dtype, at, elements, [this](auto numbers) { count(numbers); });
}

// Rounded, a guess may lie one bucket beside the one whose edges are around the number; more where the range is so
// narrow that edges coincide.
std::size_t DistributionOf::bucket_of(double scaled, std::int32_t guess) const {
  auto bucket = static_cast<std::size_t>(std::min<std::int32_t>(guess, kBuckets - 1));
  while (scaled >= edges_[bucket + 1]) ++bucket;
  while (scaled < edges_[bucket]) --bucket;
  return bucket;
}

template <class Number>
void DistributionOf::count(std::span<const Number> numbers) {
  std::array<Number, kBlock> room;
  std::array<std::int32_t, kBlock> guesses;
  const std::span<const Number> finite = finite_of(numbers, room);
  for (std::size_t i = 0; i < finite.size(); ++i)
    guesses[i] = static_cast<std::int32_t>((static_cast<double>(finite[i]) * scale_ - low_) * per_width_);
  for (std::size_t i = 0; i < finite.size(); ++i)
    ++counts_[i % kTables][bucket_of(static_cast<double>(finite[i]) * scale_, guesses[i])];
}

Distribution DistributionOf::finish() {
  if (!laid_out_) lay_out();
  if (result_.finite == 0) return result_;
  result_.limits.push_back(result_.max);
  if (result_.min == result_.max) {
    result_.counts = {result_.finite};
    return result_;
  }
  result_.counts.resize(kBuckets);
  for (const auto& table : counts_) {
    for (std::size_t i = 0; i < kBuckets; ++i) result_.counts[i] += table[i];
  }
  if (zeros_ > 0) result_.counts[bucket_of(0, static_cast<std::int32_t>(-low_ * per_width_))] += zeros_;
  return result_;
}

}  // namespace tutti::worker
