// SPDX-License-Identifier: Apache-2.0
// Everything that is left to chance in a world, from its seed. The standard's distributions are not used: they differ
// between libraries, and a seed has to mean the same everywhere.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "common/clock.h"

namespace tutti::sim {

class Draw {
 public:
  explicit Draw(std::uint64_t seed) : engine_(seed) {}

  std::uint64_t below(std::uint64_t end) { return engine_() % end; }
  /// Both ends are drawn, too.
  int between(int low, int high) { return low + static_cast<int>(below(static_cast<std::uint64_t>(high - low) + 1)); }
  double real(double low, double high) {
    constexpr double kUnit = 1.0 / (1ull << 53);
    return low + (high - low) * static_cast<double>(engine_() >> 11) * kUnit;
  }
  bool chance(double probability) { return real(0, 1) < probability; }
  Duration seconds(double low, double high) { return Duration(static_cast<std::int64_t>(real(low, high) * 1e9)); }
  /// REQUIRES: there is one.
  template <class T>
  T& from(std::vector<T>& items) {
    return items[below(items.size())];
  }
  std::mt19937_64& engine() { return engine_; }

 private:
  std::mt19937_64 engine_;
};

}  // namespace tutti::sim
