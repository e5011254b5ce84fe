// SPDX-License-Identifier: Apache-2.0
// A checkpoint's manifest. Input: u16, 0: its text; else a manifest in pieces, which is printed, read back and then
// read with one byte changed (u16 position, u8 change): refused.
#include "common/manifest.h"

#include "common/utf8.h"
#include "tests/fuzz/target.h"

namespace tutti::fuzz {
namespace {

/// JSON in memory is larger than its text: a value of 24 bytes may come as "0,", and vectors grow by half.
std::size_t block_bytes_max(std::size_t input_bytes) {
  return 64 * input_bytes + (16 << 10);
}

void read_text(std::string_view text) {
  const AllocationWatch watch;
  const auto manifest = parse_manifest(text);
  TUTTI_ASSERT(watch.largest() <= block_bytes_max(text.size()), "memory follows what came, not what it claims");
  if (!manifest) {
    TUTTI_ASSERT(manifest.error().code == Errc::kBadData, "what is no manifest is bad data");
    return;
  }
  TUTTI_ASSERT(print_manifest(*manifest) == text, "a manifest is read only as it was printed");
  accept();
}

Manifest take_manifest(Input& input) {
  Manifest manifest;
  manifest.step = input.number<std::uint64_t>();
  for (std::size_t files = input.up_to(3); files > 0; --files) {
    manifest.files.push_back({input.text(), input.number<std::uint64_t>(), input.text()});
  }
  for (std::size_t pairs = input.up_to(3); pairs > 0; --pairs) {
    const std::string key = input.text();
    manifest.metadata.emplace(key, input.text());
  }
  return manifest;
}

/// Names and metadata are checked before a checkpoint is written: JSON is UTF-8.
bool is_printable(const Manifest& manifest) {
  return std::ranges::all_of(manifest.files, [](const auto& file) { return is_utf8(file.name + file.sha256); }) &&
         std::ranges::all_of(manifest.metadata, [](const auto& pair) { return is_utf8(pair.first + pair.second); });
}

void print_and_read_back(Input& input) {
  const auto position = input.number<std::uint16_t>();
  const auto change = input.number<std::uint8_t>();
  const Manifest manifest = take_manifest(input);
  if (!is_printable(manifest)) return;
  std::string text = print_manifest(manifest);
  const auto back = parse_manifest(text);
  TUTTI_ASSERT(back && *back == manifest, "what was printed is read back");
  accept();
  if (change == 0) return;
  text[position % text.size()] = static_cast<char>(text[position % text.size()] ^ change);
  TUTTI_ASSERT(!parse_manifest(text), "no changed byte goes unnoticed");
}

}  // namespace
}  // namespace tutti::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tutti::fuzz::Input input(data, size);
  if (input.number<std::uint16_t>() == 0) {
    tutti::fuzz::read_text(input.rest_as_text());
  } else {
    tutti::fuzz::print_and_read_back(input);
  }
  return 0;
}
