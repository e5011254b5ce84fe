// SPDX-License-Identifier: Apache-2.0
#include "common/safetensors.h"

#include <gmock/gmock.h>

#include <cstring>

#include "tests/support/bytes.h"

namespace tutti {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string file_of(const std::string& header, const std::string& data) {
  const std::uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + header + data;
}

Result<TensorFile> parsed(const std::string& file) {
  auto content = std::make_unique<std::byte[]>(file.size());
  std::memcpy(content.get(), file.data(), file.size());
  return parse_tensors(std::move(content), file.size(), "model.safetensors");
}

std::string refusal_of(const std::string& file) {
  const auto result = parsed(file);
  if (result) return "it was not refused";
  EXPECT_EQ(result.error().code, Errc::kBadData);
  EXPECT_THAT(result.error().text(), HasSubstr("model.safetensors is no whole safetensors file"));
  return result.error().text();
}
std::string refusal_of_header(const std::string& header, const std::string& data = "") {
  return refusal_of(file_of(header, data));
}

TEST(Safetensors, WritesTheFormatByteForByte) {
  const std::vector<NamedBytes> tensors = {
      {"flag", DType::kBool, {3}, bytes_of("abc")},
      {"weight", DType::kFloat32, {1, 2}, bytes_of("01234567")},
      {"count", DType::kInt64, {}, bytes_of("ABCDEFGH")},
  };
  const auto header = make_tensor_header(tensors, {{"by", "tutti"}});
  ASSERT_TRUE(header);
  EXPECT_THAT(header->order, ElementsAre(2, 1, 0));  // wide elements first, so that each is aligned
  const std::string json = R"({"__metadata__":{"by":"tutti"},"count":{"dtype":"I64","shape":[],"data_offsets":[0,8]},)"
                           R"("weight":{"dtype":"F32","shape":[1,2],"data_offsets":[8,16]},)"
                           R"("flag":{"dtype":"BOOL","shape":[3],"data_offsets":[16,19]}})";
  const std::string padding((8 - json.size() % 8) % 8, ' ');
  EXPECT_EQ(header->bytes, file_of(json + padding, ""));
  EXPECT_EQ(header->bytes.size() % 8, 0u);
}

TEST(Safetensors, ReadsAFileThatAnotherProgramWrote) {
  const auto file =
      parsed(file_of(R"({"b":{"data_offsets":[4,10],"shape":[3,1],"dtype":"BF16"},)"
                     R"("a":{"dtype":"U8","shape":[2,2],"data_offsets":[0,4]},)"
                     R"("empty":{"dtype":"F64","shape":[0,5],"data_offsets":[4,4]},"__metadata__":{"k":"v"}}   )",
                     "abcdEFGHIJ"));
  ASSERT_TRUE(file) << file.error().text();
  ASSERT_EQ(file->tensors.size(), 3u);
  EXPECT_EQ(file->tensors[0].name, "a");
  EXPECT_EQ(text_of(file->tensors[0].bytes), "abcd");
  EXPECT_EQ(file->tensors[1].name, "empty");
  EXPECT_THAT(file->tensors[1].bytes, IsEmpty());
  EXPECT_EQ(file->tensors[2].dtype, DType::kBFloat16);
  EXPECT_THAT(file->tensors[2].shape, ElementsAre(3, 1));
  EXPECT_EQ(text_of(file->tensors[2].bytes), "EFGHIJ");
  EXPECT_EQ(file->metadata.at("k"), "v");
}

TEST(Safetensors, ReadsAFileWithoutTensors) {
  EXPECT_TRUE(parsed(file_of("{}", "")));
}

TEST(Safetensors, RefusesLengthsBeyondTheFile) {
  EXPECT_THAT(refusal_of(""), HasSubstr("at least 8 bytes, found 0"));
  EXPECT_THAT(refusal_of("\x03"), HasSubstr("at least 8 bytes, found 1"));
  EXPECT_THAT(refusal_of(std::string(8, '\xff') + "{}"), HasSubstr("a header of at most 2 bytes"));
}

TEST(Safetensors, RefusesTensorsThatDoNotFillTheFileOnce) {
  const std::string a = R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]})";
  EXPECT_THAT(refusal_of_header(a + "}", "abc"), HasSubstr("within 3 bytes for the tensor a, found 0 to 4"));
  EXPECT_THAT(refusal_of_header(a + "}", "abcde"), HasSubstr("to fill the file"));
  EXPECT_THAT(refusal_of_header(a + R"(,"b":{"dtype":"U8","shape":[3],"data_offsets":[3,6]}})", "abcdef"),
              HasSubstr("expected the tensor b to begin where the one before ends"));
  EXPECT_THAT(refusal_of_header(a + R"(,"a":{"dtype":"U8","shape":[2],"data_offsets":[4,6]}})", "abcdef"),
              HasSubstr("to begin where the one before ends"));
}

TEST(Safetensors, RefusesSizesThatContradictEachOther) {
  EXPECT_THAT(refusal_of_header(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", "abcd"),
              HasSubstr("as many bytes"));
  EXPECT_THAT(refusal_of_header(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", "abcd"),
              HasSubstr("as many bytes"));
  EXPECT_THAT(refusal_of_header(R"({"a":{"dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4]}})", "abcd"),
              HasSubstr("as many bytes"));
  EXPECT_THAT(refusal_of_header(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[4,0]}})", "abcd"),
              HasSubstr("found 4 to 0"));
  EXPECT_THAT(refusal_of_header(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[-4,0]}})", "abcd"),
              HasSubstr("found -4 to 0"));
}

TEST(Safetensors, RefusesHeadersOfAnotherForm) {
  EXPECT_THAT(refusal_of_header("[]"), HasSubstr("a JSON object"));
  EXPECT_THAT(refusal_of_header("{"), HasSubstr("incomplete"));
  EXPECT_THAT(refusal_of_header(R"({"a":3})"), HasSubstr("an object for the tensor a"));
  EXPECT_THAT(refusal_of_header(R"({"a":{"dtype":"U8"}})"), HasSubstr("dtype, shape and data_offsets"));
  EXPECT_THAT(refusal_of_header(R"({"a":{"dtype":"F8_E4M3","shape":[],"data_offsets":[0,1]}})", "a"),
              HasSubstr("a dtype that tutti has"));
  EXPECT_THAT(refusal_of_header(R"({"a":{"dtype":"U8","shape":[1.5],"data_offsets":[0,1]}})", "a"),
              HasSubstr("whole numbers in the shape"));
  EXPECT_THAT(refusal_of_header(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}})", "a"), HasSubstr("a pair"));
  EXPECT_THAT(refusal_of_header(R"({"__metadata__":{"a":1}})"), HasSubstr("a string for the metadata a"));
}

TEST(Safetensors, RefusesToWriteANameTwice) {
  const std::vector<NamedBytes> twice = {{"a", DType::kUInt8, {1}, bytes_of("x")},
                                         {"a", DType::kUInt8, {1}, bytes_of("y")}};
  EXPECT_EQ(make_tensor_header(twice, {}).error().code, Errc::kUsage);
  const std::vector<NamedBytes> reserved = {{"__metadata__", DType::kUInt8, {1}, bytes_of("x")}};
  EXPECT_EQ(make_tensor_header(reserved, {}).error().code, Errc::kUsage);
}

}  // namespace
}  // namespace tutti
