// SPDX-License-Identifier: Apache-2.0
#include "common/net/frame.h"

#include <gmock/gmock.h>

#include <limits>
#include <string>

#include "common/net/little_endian.h"

namespace tutti {
namespace {

FrameHeader sample() {
  FrameHeader header;
  header.type = FrameType::kPush;
  header.flags = 0x0102;
  header.generation = 0x03040506;
  header.step = 0x0708090a0b0c0d0e;
  header.object = 0x0f101112;
  header.exchange = 0x1314;
  header.sender = 0x1516;
  header.chunk = 0x1718191a;
  header.control_bytes = 0x00051b1c;
  header.payload_bytes = 0x3d1e1f20;
  header.crc = 0x21222324;
  return header;
}

std::uint64_t field(const FrameHeaderBytes& bytes, std::size_t offset, std::size_t size) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < size; ++i) value |= std::to_integer<std::uint64_t>(bytes[offset + i]) << (8 * i);
  return value;
}

template <class T>
FrameHeaderBytes with_field(std::size_t offset, T value) {
  FrameHeaderBytes bytes = encode(sample());
  std::byte* at = bytes.data() + offset;
  put_little_endian(at, value);
  return bytes;
}

TEST(Frame, PutsEachFieldAtItsPlaceInLittleEndian) {
  const FrameHeaderBytes bytes = encode(sample());
  EXPECT_EQ(field(bytes, 0, 2), 66u);
  EXPECT_EQ(field(bytes, 2, 2), sample().flags);
  EXPECT_EQ(field(bytes, 4, 4), sample().generation);
  EXPECT_EQ(field(bytes, 8, 8), sample().step);
  EXPECT_EQ(field(bytes, 16, 4), sample().object);
  EXPECT_EQ(field(bytes, 20, 2), sample().exchange);
  EXPECT_EQ(field(bytes, 22, 2), sample().sender);
  EXPECT_EQ(field(bytes, 24, 4), sample().chunk);
  EXPECT_EQ(field(bytes, 28, 4), sample().control_bytes);
  EXPECT_EQ(field(bytes, 32, 8), sample().payload_bytes);
  EXPECT_EQ(field(bytes, 40, 4), 0u);
  EXPECT_EQ(field(bytes, 44, 4), sample().crc);
}

TEST(Frame, ReadsBackWhatItWrote) {
  const FrameHeader back = decode_header(encode(sample())).value();
  EXPECT_EQ(encode(back), encode(sample()));
  EXPECT_EQ(back.type, FrameType::kPush);
  EXPECT_EQ(back.payload_bytes, sample().payload_bytes);
}

TEST(Frame, RefusesUnknownTypes) {
  for (const std::uint16_t type : {0, 18, 31, 39, 47, 50, 63, 68, 95, 99, 127, 129, 255, 65535}) {
    const auto header = decode_header(with_field(0, type));
    ASSERT_FALSE(header) << type;
    EXPECT_EQ(header.error().code, Errc::kProtocol);
  }
}

TEST(Frame, RefusesAReservedFieldThatIsNotZero) {
  EXPECT_EQ(decode_header(with_field(40, std::uint32_t{1})).error().code, Errc::kProtocol);
}

TEST(Frame, RefusesAControlPartAboveItsBound) {
  EXPECT_TRUE(decode_header(with_field(28, kControlBytesMax)));
  for (const std::uint32_t size : {kControlBytesMax + 1, 1u << 31, ~0u}) {
    EXPECT_EQ(decode_header(with_field(28, size)).error().code, Errc::kProtocol) << size;
  }
}

TEST(Frame, RefusesAPayloadAboveItsBound) {
  EXPECT_TRUE(decode_header(with_field(32, kPayloadBytesMax)));
  for (const std::uint64_t size : {kPayloadBytesMax + 1, std::uint64_t{1} << 31, std::uint64_t{1} << 40,
                                   std::uint64_t{1} << 63, ~std::uint64_t{0}}) {
    EXPECT_EQ(decode_header(with_field(32, size)).error().code, Errc::kProtocol) << size;
  }
}

TEST(Frame, ChangesItsChecksumWithEveryBitOfHeaderControlAndPayload) {
  const std::string control_text = "control";
  const std::string payload_text = "some tensor bytes";
  std::vector<std::byte> all;
  FrameHeader header = sample();
  header.control_bytes = static_cast<std::uint32_t>(control_text.size());
  header.payload_bytes = payload_text.size();
  const auto split = [&](auto&& use) {
    const std::span<const std::byte> rest = std::span(all).subspan(kFrameHeaderBytes);
    return use(rest.first(control_text.size()), rest.subspan(control_text.size()));
  };
  const FrameHeaderBytes encoded = encode(header);
  all.assign(encoded.begin(), encoded.end());
  for (const char c : control_text + payload_text) all.push_back(static_cast<std::byte>(c));
  const auto sum = [&](const FrameHeader& of) {
    return split([&](auto control, auto payload) { return checksum(of, control, payload); });
  };
  const std::uint32_t right = sum(header);

  for (std::size_t bit = 0; bit < 8 * all.size(); ++bit) {
    if (bit / 8 >= kFrameHeaderBytes - 4 && bit / 8 < kFrameHeaderBytes) continue;  // the checksum itself
    all[bit / 8] ^= std::byte{1} << (bit % 8);
    const auto decoded = decode_header(std::span(all).first<kFrameHeaderBytes>());
    EXPECT_TRUE(!decoded || sum(*decoded) != right) << "bit " << bit;
    all[bit / 8] ^= std::byte{1} << (bit % 8);
  }
}

TEST(Frame, ChangesItsChecksumWithEachOfTenThousandBitsOfABody) {
  std::vector<std::byte> body(1250);
  for (std::size_t i = 0; i < body.size(); ++i) body[i] = static_cast<std::byte>(i * 37);
  const std::uint32_t right = checksum(sample(), {}, body);
  for (std::size_t bit = 0; bit < 8 * body.size(); ++bit) {
    body[bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_NE(checksum(sample(), {}, body), right) << "bit " << bit;
    body[bit / 8] ^= std::byte{1} << (bit % 8);
  }
}

TEST(Frame, CarriesTheChecksumOnOverAPayloadInPieces) {
  const std::string payload = "some tensor bytes";
  const auto bytes = std::as_bytes(std::span(payload));
  EXPECT_EQ(checksum(sample(), {}, bytes), checksum(sample(), bytes));
  EXPECT_NE(checksum(sample(), bytes), checksum(sample(), bytes.first(3)));
}

}  // namespace
}  // namespace tutti
