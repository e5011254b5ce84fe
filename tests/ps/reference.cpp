// SPDX-License-Identifier: Apache-2.0
#include "tests/ps/reference.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

namespace tutti::ps {

namespace {

/// A 16-bit format: how many bits its exponent and its fraction have.
struct Format {
  int exponent_bits;
  int fraction_bits;
  int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  int exponent_max() const { return (1 << exponent_bits) - 1; }
};
constexpr Format kBFloat16Format{8, 7};
constexpr Format kFloat16Format{5, 10};

float widen(const Format& format, std::uint16_t bits) {
  const int fraction = bits & ((1 << format.fraction_bits) - 1);
  const int exponent = (bits >> format.fraction_bits) & format.exponent_max();
  const double sign = (bits & 0x8000) != 0 ? -1.0 : 1.0;
  if (exponent == format.exponent_max()) {
    return fraction != 0 ? std::numeric_limits<float>::quiet_NaN() : static_cast<float>(sign * INFINITY);
  }
  const int implied = exponent == 0 ? 0 : 1 << format.fraction_bits;
  return static_cast<float>(
      sign * std::ldexp(implied + fraction, std::max(exponent, 1) - format.bias() - format.fraction_bits));
}

std::uint16_t narrow(const Format& format, float value) {
  const std::uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  if (value == 0) return sign;
  int exponent = 0;
  std::frexp(std::fabs(value), &exponent);
  exponent = std::max(exponent - 1, 1 - format.bias());
  const double steps =
      std::nearbyint(std::ldexp(std::fabs(static_cast<double>(value)), format.fraction_bits - exponent));
  // The fraction carries into the exponent by itself, from the subnormals up to infinity.
  const double bits = std::ldexp(exponent + format.bias() - 1, format.fraction_bits) + steps;
  const double infinite = std::ldexp(format.exponent_max(), format.fraction_bits);
  return static_cast<std::uint16_t>(sign | static_cast<std::uint16_t>(std::min(bits, infinite)));
}

template <class Number>
Number load(const Bytes& bytes, std::size_t i) {
  Number number;
  std::memcpy(&number, bytes.data() + i * sizeof(Number), sizeof(Number));
  return number;
}
template <class Number>
void store(Bytes& bytes, std::size_t i, Number number) {
  std::memcpy(bytes.data() + i * sizeof(Number), &number, sizeof(Number));
}

template <class Sum>
Sum reduce_element(std::vector<Sum>& values, Reduction reduction, SumLoop loop) {
  if (loop == SumLoop::kReversedOrder) std::reverse(values.begin(), values.end());
  Sum sum = values.front();
  for (std::size_t i = 1; i < values.size(); ++i) sum = static_cast<Sum>(sum + values[i]);
  if (reduction == Reduction::kSum) return sum;
  const auto ranks = static_cast<Sum>(values.size());
  return loop == SumLoop::kReciprocal ? static_cast<Sum>(sum * (Sum(1) / ranks)) : static_cast<Sum>(sum / ranks);
}

template <class Stored, class Sum, class Widen, class Narrow>
Bytes reduce_all(const std::vector<Bytes>& from, Reduction reduction, SumLoop loop, Widen widen, Narrow narrow) {
  Bytes result(from.front().size());
  std::vector<Sum> values(from.size());
  for (std::size_t i = 0; i < result.size() / sizeof(Stored); ++i) {
    for (std::size_t rank = 0; rank < from.size(); ++rank) values[rank] = widen(load<Stored>(from[rank], i));
    store<Stored>(result, i, narrow(reduce_element(values, reduction, loop)));
  }
  return result;
}

template <class Number>
Bytes reduce_plain(const std::vector<Bytes>& from, Reduction reduction, SumLoop loop) {
  const auto same = [](Number number) { return number; };
  return reduce_all<Number, Number>(from, reduction, loop, same, same);
}

Bytes reduce_half(const Format& format, const std::vector<Bytes>& from, Reduction reduction, SumLoop loop) {
  return reduce_all<std::uint16_t, float>(
      from, reduction, loop, [&](std::uint16_t bits) { return widen(format, bits); },
      [&](float value) { return narrow(format, value); });
}

}  // namespace

Bytes random_bytes(DType dtype, std::size_t elements, std::mt19937& random) {
  Bytes bytes(elements * size_of(dtype));
  std::uniform_real_distribution<double> fraction(-1, 1);
  std::uniform_int_distribution<int> exponent(-20, 12);
  std::uniform_int_distribution<int> bits(0, 255);
  for (std::size_t i = 0; i < elements; ++i) {
    const double number = bits(random) < 8 ? -0.0 : std::ldexp(fraction(random), exponent(random));
    switch (dtype) {
      case DType::kFloat32:
        store(bytes, i, static_cast<float>(number));
        break;
      case DType::kFloat64:
        store(bytes, i, number);
        break;
      case DType::kBFloat16:
        store(bytes, i, narrow(kBFloat16Format, static_cast<float>(number)));
        break;
      case DType::kFloat16:
        store(bytes, i, narrow(kFloat16Format, static_cast<float>(number)));
        break;
      case DType::kBool:
        store<std::uint8_t>(bytes, i, bits(random) < 64);
        break;
      default:
        for (std::size_t byte = 0; byte < size_of(dtype); ++byte) {
          bytes[i * size_of(dtype) + byte] = static_cast<std::byte>(bits(random));
        }
    }
  }
  return bytes;
}

Bytes reference_reduce(DType dtype, Reduction reduction, const std::vector<Bytes>& from, SumLoop loop) {
  if (reduction == Reduction::kBroadcast) return from.front();
  switch (dtype) {
    case DType::kFloat32:
      return reduce_plain<float>(from, reduction, loop);
    case DType::kFloat64:
      return reduce_plain<double>(from, reduction, loop);
    case DType::kBFloat16:
      return reduce_half(kBFloat16Format, from, reduction, loop);
    case DType::kFloat16:
      return reduce_half(kFloat16Format, from, reduction, loop);
    case DType::kInt64:
      return reduce_plain<std::uint64_t>(from, reduction, loop);
    case DType::kInt32:
      return reduce_plain<std::uint32_t>(from, reduction, loop);
    case DType::kInt16:
      return reduce_plain<std::uint16_t>(from, reduction, loop);
    case DType::kInt8:
    case DType::kUInt8:
      return reduce_plain<std::uint8_t>(from, reduction, loop);
    case DType::kBool:
      break;
  }
  Bytes any(from.front().size());
  for (const Bytes& contribution : from) {
    for (std::size_t i = 0; i < any.size(); ++i) any[i] |= contribution[i];
  }
  return any;
}

}  // namespace tutti::ps
