// SPDX-License-Identifier: Apache-2.0
// TensorBoard's event files, read as a test wants them: the whole records of a file, and the fields of a message.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/crc32c.h"

namespace tutti::testing {

inline std::uint64_t little_endian(std::string_view bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

/// A record's bytes and their checksum: whether the two belong together.
inline bool is_intact(std::string_view bytes, std::string_view checksum) {
  const std::uint32_t crc = crc32c(std::as_bytes(std::span(bytes)));
  const std::uint32_t masked = ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
  return masked == little_endian(checksum);
}

/// Up to the first record that is cut or damaged.
inline std::vector<std::string> whole_records(std::string_view file) {
  std::vector<std::string> records;
  while (file.size() >= 12 && is_intact(file.substr(0, 8), file.substr(8, 4))) {
    const std::size_t size = little_endian(file.substr(0, 8));
    file.remove_prefix(12);
    if (file.size() < size + 4 || !is_intact(file.substr(0, size), file.substr(size, 4))) break;
    records.emplace_back(file.substr(0, size));
    file.remove_prefix(size + 4);
  }
  return records;
}

/// The fields of a protocol buffers' message, as bytes: numbers little-endian, varints as eight bytes.
inline std::map<int, std::string> fields_of(std::string_view message) {
  std::map<int, std::string> fields;
  const auto varint = [&] {
    std::uint64_t value = 0;
    for (int shift = 0; !message.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(message.front());
      message.remove_prefix(1);
      value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    return value;
  };
  while (!message.empty()) {
    const std::uint64_t key = varint();
    std::string& field = fields[static_cast<int>(key >> 3)];
    if ((key & 7) == 0) {
      const std::uint64_t value = varint();
      for (int i = 0; i < 8; ++i) field += static_cast<char>(value >> (8 * i));
      continue;
    }
    const std::size_t size = (key & 7) == 1 ? 8 : (key & 7) == 5 ? 4 : varint();
    field = message.substr(0, size);
    message.remove_prefix(std::min(size, message.size()));
  }
  return fields;
}

/// A scalar as it stands in a file.
struct Point {
  std::string tag;
  std::int64_t step;
  double value;
  double wall_s;
  bool operator==(const Point&) const = default;
};

/// The scalars of these records, in their order.
inline std::vector<Point> points_of(const std::vector<std::string>& records) {
  std::vector<Point> points;
  for (const std::string& record : records) {
    auto event = fields_of(record);
    auto value = fields_of(fields_of(event[5])[1]);
    if (!value.contains(2)) continue;
    points.push_back({value[1], static_cast<std::int64_t>(little_endian(event[2])),
                      std::bit_cast<float>(static_cast<std::uint32_t>(little_endian(value[2]))),
                      std::bit_cast<double>(little_endian(event[1]))});
  }
  return points;
}

}  // namespace tutti::testing
