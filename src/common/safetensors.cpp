// SPDX-License-Identifier: Apache-2.0
#include "common/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cstring>
#include <functional>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <utility>

#include "common/alignment.h"
#include "common/assert.h"
#include "common/utf8.h"

namespace tutti {
namespace {

namespace json = boost::json;

constexpr std::string_view kMetadata = "__metadata__";
constexpr std::size_t kLengthBytes = 8;
constexpr std::size_t kAlignment = 8;
constexpr std::uint64_t kHeaderBytesMax = 100'000'000;  // the format's own bound

// The bytes of a tensor of that shape, or nothing when they are no number of bytes that a file could hold.
std::optional<std::uint64_t> bytes_of_shape(const std::vector<std::int64_t>& shape, DType dtype) {
  std::uint64_t bytes = size_of(dtype);
  for (const std::int64_t extent : shape) {
    if (extent < 0 || __builtin_mul_overflow(bytes, static_cast<std::uint64_t>(extent), &bytes)) return std::nullopt;
  }
  return bytes;
}

json::object described(const NamedBytes& tensor, std::uint64_t begin) {
  json::array shape(tensor.shape.begin(), tensor.shape.end());
  return {{"dtype", name_of(tensor.dtype)}, {"shape", shape}, {"data_offsets", {begin, begin + tensor.bytes.size()}}};
}

json::object as_json(const Metadata& metadata) {
  json::object object;
  for (const auto& [key, value] : metadata) object.emplace(key, value);
  return object;
}

// Reads one header. Each function returns nothing, or throws what was expected; parse() turns that into the Failure.
class HeaderReader {
 public:
  explicit HeaderReader(std::span<const std::byte> data) : data_(data) {}

  void read(const json::value& header, TensorFile& file) {
    for (const auto& [name, value] : expect(header.if_object(), "a JSON object for the header")) {
      if (name == kMetadata) {
        read_metadata(value, file.metadata);
      } else {
        file.tensors.push_back(tensor(name, value));
      }
    }
    std::ranges::sort(file.tensors, {}, [](const NamedBytes& t) { return std::pair(t.bytes.data(), t.bytes.size()); });
    expect_no_gap(file.tensors);
  }

 private:
  template <class T>
  static const T& expect(const T* value, const std::string& what) {
    if (value == nullptr) throw std::runtime_error("expected " + what);
    return *value;
  }

  static void read_metadata(const json::value& value, Metadata& metadata) {
    for (const auto& [key, text] : expect(value.if_object(), "an object for the metadata")) {
      metadata.emplace(key,
                       std::string_view(expect(text.if_string(), "a string for the metadata " + std::string(key))));
    }
  }

  NamedBytes tensor(std::string_view name, const json::value& value) const {
    const std::string of = fmt::format(" for the tensor {}", name);
    const json::object& entry = expect(value.if_object(), "an object" + of);
    const json::value *dtype = entry.if_contains("dtype"), *shape = entry.if_contains("shape");
    if (dtype == nullptr || shape == nullptr || entry.size() != 3)
      throw std::runtime_error("expected dtype, shape and data_offsets" + of);
    NamedBytes tensor;
    tensor.name = name;
    const auto known = dtype_named(expect(dtype->if_string(), "a string as dtype" + of));
    tensor.dtype = expect(known ? &*known : nullptr, "a dtype that tutti has" + of);
    for (const json::value& extent : expect(shape->if_array(), "a list as shape" + of)) {
      tensor.shape.push_back(expect(extent.if_int64(), "whole numbers in the shape" + of));
    }
    tensor.bytes = place(entry.if_contains("data_offsets"), of);
    if (bytes_of_shape(tensor.shape, tensor.dtype) != tensor.bytes.size()) {
      throw std::runtime_error("expected as many bytes as dtype and shape make" + of);
    }
    return tensor;
  }

  std::span<const std::byte> place(const json::value* offsets, const std::string& of) const {
    const json::array* pair = offsets == nullptr ? nullptr : offsets->if_array();
    if (pair == nullptr || pair->size() != 2) throw std::runtime_error("expected a pair as data_offsets" + of);
    const std::int64_t begin = expect((*pair)[0].if_int64(), "whole numbers in data_offsets" + of);
    const std::int64_t end = expect((*pair)[1].if_int64(), "whole numbers in data_offsets" + of);
    if (begin < 0 || end < begin || static_cast<std::uint64_t>(end) > data_.size()) {
      throw std::runtime_error(
          fmt::format("expected data_offsets within {} bytes{}, found {} to {}", data_.size(), of, begin, end));
    }
    return data_.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
  }

  void expect_no_gap(const std::vector<NamedBytes>& tensors) const {
    const std::byte* next = data_.data();
    for (const NamedBytes& tensor : tensors) {
      if (tensor.bytes.data() != next)
        throw std::runtime_error("expected the tensor " + tensor.name + " to begin where the one before ends");
      next += tensor.bytes.size();
    }
    if (next != data_.data() + data_.size()) throw std::runtime_error("expected the tensors to fill the file");
  }

  std::span<const std::byte> data_;
};

// The header is JSON, which other bytes would make unreadable.
Result<> check_names(std::span<const NamedBytes> tensors) {
  for (const NamedBytes& tensor : tensors) {
    if (!is_utf8(tensor.name)) return fail(Errc::kUsage, "the tensor name '" + tensor.name + "' is not UTF-8");
  }
  return {};
}

std::uint64_t header_length(std::span<const std::byte> bytes) {
  if (bytes.size() < kLengthBytes)
    throw std::runtime_error(fmt::format("expected at least 8 bytes, found {}", bytes.size()));
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), kLengthBytes);
  const std::uint64_t most = std::min<std::uint64_t>(bytes.size() - kLengthBytes, kHeaderBytesMax);
  if (length > most)
    throw std::runtime_error(fmt::format("expected a header of at most {} bytes, found {}", most, length));
  return length;
}

}  // namespace

Result<> check_metadata(const Metadata& metadata) {
  for (const auto& [key, value] : metadata) {
    if (!is_utf8(key) || !is_utf8(value)) return fail(Errc::kUsage, "the metadata '" + key + "' is not UTF-8");
  }
  return {};
}

Result<TensorHeader> make_tensor_header(std::span<const NamedBytes> tensors, const Metadata& metadata) {
  TUTTI_TRY(check_names(tensors));
  TUTTI_TRY(check_metadata(metadata));
  TensorHeader header;
  header.order.resize(tensors.size());
  std::iota(header.order.begin(), header.order.end(), std::size_t{0});
  std::ranges::stable_sort(header.order, std::greater<>{}, [&](std::size_t i) { return size_of(tensors[i].dtype); });

  json::object object;
  if (!metadata.empty()) object.emplace(kMetadata, as_json(metadata));
  std::uint64_t begin = 0;
  for (const std::size_t i : header.order) {
    const NamedBytes& tensor = tensors[i];
    TUTTI_ASSERT(bytes_of_shape(tensor.shape, tensor.dtype) == tensor.bytes.size(),
                 "a tensor has the bytes of its shape");
    if (tensor.name == kMetadata || !object.emplace(tensor.name, described(tensor, begin)).second) {
      return fail(Errc::kUsage, "the tensor name '" + tensor.name + "' is given twice or reserved");
    }
    begin += tensor.bytes.size();
  }
  std::string text = json::serialize(object);
  text.resize(rounded_up(text.size(), kAlignment), ' ');
  const std::uint64_t length = text.size();
  header.bytes = std::string(reinterpret_cast<const char*>(&length), sizeof length) + text;
  return header;
}

Result<TensorFile> parse_tensors(std::unique_ptr<std::byte[]> content, std::size_t size, const std::string& path) {
  try {
    const std::span<const std::byte> bytes(content.get(), size);
    const std::uint64_t length = header_length(bytes);
    const auto text = std::string_view(reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, length);
    TensorFile file;
    file.content = std::move(content);
    HeaderReader(bytes.subspan(kLengthBytes + length)).read(json::parse(text), file);
    return file;
  } catch (const std::exception& error) {
    return fail(Errc::kBadData, error.what()).wrap(path + " is no whole safetensors file");
  }
}

}  // namespace tutti
