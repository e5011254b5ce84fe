// SPDX-License-Identifier: Apache-2.0
// Control messages to bytes and back, with cereal. The reader works on an exact buffer: every size it reads is checked
// against the bytes that are left before anything is allocated, and bytes left over are an error. Integers are
// little-endian, sizes u64. An enum declares `constexpr E last_enumerator(E)` beside it; a value above that is refused.
// Thread safety: functions without state; an archive belongs to one thread.
#pragma once

#include <bit>
#include <cereal/cereal.hpp>
#include <cereal/types/array.hpp>
#include <cereal/types/map.hpp>
#include <cereal/types/optional.hpp>
#include <cereal/types/string.hpp>
#include <cereal/types/vector.hpp>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <span>
#include <string>
#include <type_traits>

#include "common/result.h"

namespace tutti {

static_assert(std::endian::native == std::endian::little, "numbers are copied to the wire as they lie in memory");

class BoundedOutputArchive : public cereal::OutputArchive<BoundedOutputArchive> {
 public:
  /// Appends to `out`, which must outlive the archive.
  explicit BoundedOutputArchive(std::string& out) : OutputArchive(this), out_(out) {}
  void write(const void* data, std::size_t size) { out_.append(static_cast<const char*>(data), size); }

 private:
  std::string& out_;
};

class BoundedInputArchive : public cereal::InputArchive<BoundedInputArchive> {
 public:
  /// Reads from `bytes`, which must outlive the archive.
  explicit BoundedInputArchive(std::span<const std::byte> bytes) : InputArchive(this), bytes_(bytes) {}
  std::size_t left() const noexcept { return bytes_.size(); }

  void read(void* data, std::size_t size) {
    expect_left(size, "a value");
    if (size != 0) std::memcpy(data, bytes_.data(), size);
    bytes_ = bytes_.subspan(size);
  }
  /// Each element of a container costs at least one byte, so no honest size is above the bytes left.
  void expect_left(std::uint64_t size, const char* what) const {
    if (size <= left()) return;
    throw cereal::Exception("expected " + std::to_string(size) + " bytes of " + what + ", " + std::to_string(left()) +
                            " are left");
  }

 private:
  std::span<const std::byte> bytes_;
};

// What cereal finds by argument-dependent lookup for numbers, sizes, blocks of bytes and enums.

template <class T>
requires std::is_arithmetic_v<T>
void CEREAL_SAVE_FUNCTION_NAME(BoundedOutputArchive& archive, const T& value) {
  archive.write(&value, sizeof value);
}
template <class T>
requires std::is_arithmetic_v<T>
void CEREAL_LOAD_FUNCTION_NAME(BoundedInputArchive& archive, T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    std::uint8_t byte = 0;
    archive.read(&byte, 1);
    if (byte > 1) throw cereal::Exception("expected 0 or 1 for a bool, found " + std::to_string(byte));
    value = byte == 1;
  } else {
    archive.read(&value, sizeof value);
  }
}

template <class T>
void CEREAL_SAVE_FUNCTION_NAME(BoundedOutputArchive& archive, const cereal::SizeTag<T>& tag) {
  const std::uint64_t size = tag.size;
  archive.write(&size, sizeof size);
}
template <class T>
void CEREAL_LOAD_FUNCTION_NAME(BoundedInputArchive& archive, cereal::SizeTag<T>& tag) {
  std::uint64_t size = 0;
  archive.read(&size, sizeof size);
  archive.expect_left(size, "a string or container");
  tag.size = size;
}

template <class T>
void CEREAL_SAVE_FUNCTION_NAME(BoundedOutputArchive& archive, const cereal::BinaryData<T>& block) {
  archive.write(block.data, block.size);
}
template <class T>
void CEREAL_LOAD_FUNCTION_NAME(BoundedInputArchive& archive, cereal::BinaryData<T>& block) {
  archive.read(block.data, block.size);
}

/// A name that a message gives to a value is not written.
template <class T>
void CEREAL_SAVE_FUNCTION_NAME(BoundedOutputArchive& archive, const cereal::NameValuePair<T>& named) {
  archive(named.value);
}
template <class T>
void CEREAL_LOAD_FUNCTION_NAME(BoundedInputArchive& archive, cereal::NameValuePair<T>& named) {
  archive(named.value);
}

template <class Enum>
concept DeclaresLastEnumerator = requires(Enum value) {
  last_enumerator(value);
};

/// cereal's own rule for enums believes every value; this one is more specialised.
template <class Enum>
requires std::is_enum_v<Enum>
void CEREAL_LOAD_MINIMAL_FUNCTION_NAME(const BoundedInputArchive&, Enum& value,
                                       const std::underlying_type_t<Enum>& number) {
  static_assert(DeclaresLastEnumerator<Enum>, "declare last_enumerator(E) beside this enum");
  using Unsigned = std::make_unsigned_t<std::underlying_type_t<Enum>>;  // below zero counts as far above
  const auto last = static_cast<Unsigned>(last_enumerator(Enum{}));
  if (static_cast<Unsigned>(number) > last) {
    throw cereal::Exception("expected an enumerator up to " + std::to_string(last) + ", found " +
                            std::to_string(number));
  }
  value = static_cast<Enum>(number);
}

/// The bytes of `message`.
template <class Message>
std::string encode(const Message& message) {
  std::string bytes;
  BoundedOutputArchive archive(bytes);
  archive(message);
  return bytes;
}

/// The message of which `bytes` are all the bytes, or kProtocol with what was expected. Never throws.
template <class Message>
Result<Message> decode(std::span<const std::byte> bytes) {
  try {
    Message message{};
    BoundedInputArchive archive(bytes);
    archive(message);
    if (archive.left() == 0) return message;
    return fail(Errc::kProtocol, "a control message has " + std::to_string(archive.left()) + " bytes too many");
  } catch (const std::exception& error) {
    return fail(Errc::kProtocol, std::string("a control message is malformed: ") + error.what());
  }
}

}  // namespace tutti

CEREAL_SETUP_ARCHIVE_TRAITS(tutti::BoundedInputArchive, tutti::BoundedOutputArchive)
