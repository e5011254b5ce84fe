// SPDX-License-Identifier: Apache-2.0
// Writes checkpoints with a tensor of each dtype, whose element i is i - 3 (true from 0 up where it is a bool), into
// the folder given: read_sample.py reads them back with the package `safetensors`. bfloat16, which NumPy has not, is in
// one of its own.
#include <array>
#include <bit>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <vector>

#include "common/checkpoint_file.h"

namespace {

using tutti::DType;

constexpr int kElements = 6;

/// Small whole numbers are floats of 16 bits that end in zeros.
std::uint16_t as_bfloat16(float value) {
  return static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16);
}
/// Of -3, -2, -1, 0, 1, 2.
constexpr std::array<std::uint16_t, kElements> kHalves = {0xc200, 0xc000, 0xbc00, 0x0000, 0x3c00, 0x4000};

template <class T>
void append(std::vector<std::byte>& bytes, T value) {
  const auto part = std::as_bytes(std::span(&value, 1));
  bytes.insert(bytes.end(), part.begin(), part.end());
}

void append(std::vector<std::byte>& bytes, DType dtype, int i) {
  const int value = i - 3;
  switch (dtype) {
    case DType::kFloat32:
      return append(bytes, static_cast<float>(value));
    case DType::kFloat64:
      return append(bytes, static_cast<double>(value));
    case DType::kBFloat16:
      return append(bytes, as_bfloat16(static_cast<float>(value)));
    case DType::kFloat16:
      return append(bytes, kHalves[static_cast<std::size_t>(i)]);
    case DType::kInt64:
      return append(bytes, static_cast<std::int64_t>(value));
    case DType::kInt32:
      return append(bytes, static_cast<std::int32_t>(value));
    case DType::kInt16:
      return append(bytes, static_cast<std::int16_t>(value));
    case DType::kInt8:
    case DType::kUInt8:
      return append(bytes, static_cast<std::int8_t>(value));
    case DType::kBool:
      return append(bytes, value >= 0);
  }
}

std::vector<std::byte> elements(DType dtype) {
  std::vector<std::byte> bytes;
  for (int i = 0; i < kElements; ++i) append(bytes, dtype, i);
  return bytes;
}

bool save(const char* folder, const tutti::CheckpointContent& content) {
  tutti::DiskFileSystem disk;
  const auto saved = save_checkpoint(disk, folder, content);
  if (!saved) std::fprintf(stderr, "%s\n", saved.error().text().c_str());
  return saved.has_value();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 64;
  std::vector<std::vector<std::byte>> bytes;
  tutti::CheckpointContent content{42, {}, {{"note", "of every dtype"}}}, narrow{43, {}, {}};
  for (int d = 0; d < tutti::kDTypeCount; ++d) bytes.push_back(elements(static_cast<DType>(d)));
  for (int d = 0; d < tutti::kDTypeCount; ++d) {
    const auto dtype = static_cast<DType>(d);
    auto& tensors = dtype == DType::kBFloat16 ? narrow.tensors : content.tensors;
    tensors.push_back({"tensor/" + std::string(name_of(dtype)), dtype, {2, 3}, bytes[static_cast<std::size_t>(d)]});
  }
  content.tensors.push_back({"scalar", DType::kInt64, {}, std::span(bytes[4]).first(8)});
  content.tensors.push_back({"empty", DType::kFloat32, {0, 4}, {}});
  return save(argv[1], content) && save(argv[1], narrow) ? 0 : 1;
}
