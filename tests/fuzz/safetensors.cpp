// SPDX-License-Identifier: Apache-2.0
// Files of tensors. Input: the file's bytes. What is read covers the file without a gap, and is the same after it was
// written and read once more.
#include "common/safetensors.h"

#include "tests/fuzz/target.h"

namespace tutti::fuzz {
namespace {

/// As in the manifest: a header's values are larger in memory than as text.
std::size_t block_bytes_max(std::size_t input_bytes) {
  return 64 * input_bytes + (16 << 10);
}

Result<TensorFile> parse(std::span<const std::byte> bytes) {
  auto content = std::make_unique<std::byte[]>(bytes.size());
  std::ranges::copy(bytes, content.get());
  return parse_tensors(std::move(content), bytes.size(), "the file");
}

std::vector<std::byte> write(const TensorFile& file) {
  const auto header = make_tensor_header(file.tensors, file.metadata);
  TUTTI_ASSERT(header, "what was read can be written");
  const auto head = std::as_bytes(std::span(header->bytes));
  std::vector<std::byte> bytes(head.begin(), head.end());
  for (const std::size_t i : header->order) {
    const auto tensor = file.tensors[i].bytes;
    bytes.insert(bytes.end(), tensor.begin(), tensor.end());
  }
  return bytes;
}

void expect_same(const TensorFile& one, const TensorFile& other) {
  TUTTI_ASSERT(one.metadata == other.metadata && one.tensors.size() == other.tensors.size(), "nothing is lost");
  for (const NamedBytes& tensor : one.tensors) {
    const auto same = std::ranges::find(other.tensors, tensor.name, &NamedBytes::name);
    TUTTI_ASSERT(same != other.tensors.end() && same->dtype == tensor.dtype && same->shape == tensor.shape &&
                     std::ranges::equal(same->bytes, tensor.bytes),
                 "each tensor is what it was");
  }
}

}  // namespace
}  // namespace tutti::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tutti;
  const fuzz::AllocationWatch watch;
  const auto file = fuzz::parse(std::as_bytes(std::span(data, size)));
  TUTTI_ASSERT(watch.largest() <= fuzz::block_bytes_max(size), "memory follows what came, not what it claims");
  if (!file) {
    TUTTI_ASSERT(file.error().code == Errc::kBadData, "what is no file of tensors is bad data");
    return 0;
  }
  for (const NamedBytes& tensor : file->tensors) {
    TUTTI_ASSERT(file->content.get() <= tensor.bytes.data() &&
                     tensor.bytes.data() + tensor.bytes.size() <= file->content.get() + size,
                 "a tensor lies within its file");
  }
  const auto again = fuzz::parse(fuzz::write(*file));
  TUTTI_ASSERT(again, "what was written is read");
  fuzz::expect_same(*file, *again);
  fuzz::accept();
  return 0;
}
