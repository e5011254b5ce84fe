// SPDX-License-Identifier: Apache-2.0
#include "common/bounded_archive.h"

#include <gmock/gmock.h>

#include <array>
#include <map>
#include <optional>
#include <vector>

#include "common/dtype.h"
#include "tests/support/bytes.h"

namespace tutti {
namespace {

using ::testing::HasSubstr;

struct Inner {
  std::string name;
  std::vector<std::uint32_t> numbers;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(name, numbers);
  }
  bool operator==(const Inner&) const = default;
};

struct Message {
  bool flag = false;
  std::int32_t rank = 0;
  double rate = 0;
  BucketSpec bucket;
  std::optional<std::string> note;
  std::map<std::string, std::uint64_t> counts;
  std::vector<Inner> inner;
  std::vector<bool> bits;
  std::array<std::uint8_t, 4> digest{};
  template <class Archive>
  void serialize(Archive& archive) {
    archive(flag, rank, rate, bucket, note, counts, inner, bits, digest);
  }
  bool operator==(const Message&) const = default;
};

Message example_message() {
  Message message;
  message.flag = true;
  message.rank = -3;
  message.rate = 0.125;
  message.bucket = {DType::kBFloat16, Reduction::kBroadcast, 77};
  message.note = "why";
  message.counts = {{"a", 1}, {"b", 1ull << 40}};
  message.inner = {{"x", {1, 2, 3}}, {"", {}}};
  message.bits = {true, false, true};
  message.digest = {9, 8, 7, 6};
  return message;
}

std::string u64(std::uint64_t value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}

template <class M>
std::string failure_of(const std::string& bytes) {
  const auto result = decode<M>(bytes_of(bytes));
  if (result) return "no failure";
  EXPECT_EQ(result.error().code, Errc::kProtocol);
  return result.error().text();
}

TEST(BoundedArchive, ReadsBackWhatItWrote) {
  const auto result = decode<Message>(bytes_of(encode(example_message())));
  ASSERT_TRUE(result) << result.error().text();
  EXPECT_EQ(*result, example_message());
}

TEST(BoundedArchive, WritesSizesAsLittleEndianU64) {
  EXPECT_EQ(encode(std::string("ab")), std::string("\x02\0\0\0\0\0\0\0ab", 10));
  EXPECT_EQ(encode(std::uint32_t{0x01020304}), std::string("\x04\x03\x02\x01", 4));
}

TEST(BoundedArchive, RefusesEveryTruncation) {
  const std::string whole = encode(example_message());
  for (std::size_t length = 0; length < whole.size(); ++length) {
    EXPECT_FALSE(decode<Message>(bytes_of(whole.substr(0, length)))) << length;
  }
}

TEST(BoundedArchive, RefusesBytesLeftOver) {
  EXPECT_THAT(failure_of<Message>(encode(example_message()) + "?"), HasSubstr("1 bytes too many"));
}

TEST(BoundedArchive, RefusesSizesAboveTheBytesLeftBeforeItAllocates) {
  EXPECT_THAT(failure_of<std::string>(u64(~0ull) + "abc"), HasSubstr("3 are left"));
  EXPECT_THAT(failure_of<std::vector<double>>(u64(1ull << 60)), HasSubstr("expected 1152921504606846976 bytes"));
  EXPECT_THAT(failure_of<std::vector<std::string>>(u64(9) + "12345678"), HasSubstr("expected 9 bytes"));
  using Map = std::map<std::string, int>;
  EXPECT_THAT(failure_of<Map>(u64(~0ull)), HasSubstr("are left"));
}

TEST(BoundedArchive, RefusesElementsThatAreNotThere) {
  EXPECT_THAT(failure_of<std::vector<double>>(u64(8) + "12345678"), HasSubstr("expected 64 bytes"));
}

TEST(BoundedArchive, RefusesABoolThatIsNeitherZeroNorOne) {
  EXPECT_THAT(failure_of<bool>("\x02"), HasSubstr("expected 0 or 1"));
  EXPECT_THAT(failure_of<std::vector<bool>>(u64(1) + "\x07"), HasSubstr("found 7"));
  EXPECT_THAT(failure_of<std::optional<int>>("\xff"), HasSubstr("found 255"));
}

TEST(BoundedArchive, RefusesAnEnumeratorThatDoesNotExist) {
  EXPECT_TRUE(decode<DType>(bytes_of("\x09")));
  EXPECT_THAT(failure_of<DType>("\x0a"), HasSubstr("up to 9, found 10"));
  std::string bucket = encode(BucketSpec{DType::kInt8, Reduction::kSum, 5});
  bucket[1] = 3;
  EXPECT_THAT(failure_of<BucketSpec>(bucket), HasSubstr("up to 2, found 3"));
}

TEST(BoundedArchive, SurvivesEveryFlippedByte) {
  const std::string whole = encode(example_message());
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (const char flip : {'\x01', '\x80', '\xff'}) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(damaged[at] ^ flip);
      const auto result = decode<Message>(bytes_of(damaged));
      EXPECT_FALSE(result && *result == example_message()) << "at " << at;
    }
  }
}

}  // namespace
}  // namespace tutti
