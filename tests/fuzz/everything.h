// SPDX-License-Identifier: Apache-2.0
// A message with every kind of member that the bounded archive has.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/bounded_archive.h"
#include "common/dtype.h"

namespace tutti::fuzz {

struct Everything {
  bool flag = false;
  std::int8_t small = 0;
  std::int64_t large = 0;
  float single = 0;
  DType dtype = DType::kFloat32;
  std::array<std::uint16_t, 3> three{};
  std::optional<std::string> text;
  std::vector<bool> flags;
  std::vector<std::vector<std::uint32_t>> numbers;
  std::map<std::string, std::vector<std::string>> named;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(flag, small, large, single, dtype, three, text, flags, numbers, named);
  }
  /// A NaN is equal to itself: its bits are what counts.
  bool operator==(const Everything& other) const { return encode(*this) == encode(other); }
};

}  // namespace tutti::fuzz
