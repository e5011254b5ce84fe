// SPDX-License-Identifier: Apache-2.0
// What fuzz targets share. A target is one source with LLVMFuzzerTestOneInput: it takes any bytes, and aborts where a
// promise does not hold. libFuzzer makes up inputs for it (tests/fuzz/run.sh); the test suite gives it the corpus
// (corpus_main.cpp).
// Thread safety: one thread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include "common/assert.h"

namespace tutti::fuzz {

/// The target says so where it took its input for what it is meant to be. Inputs called valid-* have to come so far.
void accept() noexcept;
std::uint64_t accepted() noexcept;

/// The largest block of memory that was asked for since its construction. A sanitizer's allocator tells; without one
/// nothing is known, and it says 0.
class AllocationWatch {
 public:
  AllocationWatch() noexcept;
  std::size_t largest() const noexcept;
};

/// Bytes that are taken off as numbers and texts. What is not there any more is zero or empty.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : bytes_(std::as_bytes(std::span(data, size))) {}
  explicit Input(std::span<const std::byte> bytes) : bytes_(bytes) {}

  bool empty() const noexcept { return bytes_.empty(); }
  std::span<const std::byte> take(std::size_t size) {
    const auto taken = bytes_.first(std::min(size, bytes_.size()));
    bytes_ = bytes_.subspan(taken.size());
    return taken;
  }
  template <class T>
  T number() {
    T value{};
    const auto bytes = take(sizeof value);
    if (!bytes.empty()) std::memcpy(&value, bytes.data(), bytes.size());
    return value;
  }
  /// From 0 to `most`.
  std::size_t up_to(std::size_t most) { return number<std::uint16_t>() % (most + 1); }
  /// A byte that says how long it is, then the text.
  std::string text() { return as_text(take(number<std::uint8_t>())); }
  /// Up to the separator, which is dropped, or to the end.
  std::string text_until(char separator) {
    const auto end = std::ranges::find(bytes_, static_cast<std::byte>(separator));
    const std::string found = as_text(take(static_cast<std::size_t>(end - bytes_.begin())));
    take(1);
    return found;
  }
  std::span<const std::byte> rest() const noexcept { return bytes_; }
  std::string rest_as_text() const { return as_text(bytes_); }

 private:
  static std::string as_text(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  std::span<const std::byte> bytes_;
};

}  // namespace tutti::fuzz
