// SPDX-License-Identifier: Apache-2.0
#include "common/secret.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <algorithm>

#include "tests/common/temporary_folder.h"
#include "tests/support/bytes.h"

namespace tutti {
namespace {

using ::testing::HasSubstr;

TEST(Sha256, EqualsThePublishedVectors) {  // FIPS 180-2, appendix B
  EXPECT_EQ(hex(sha256({})), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(hex(sha256(bytes_of("abc"))), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha256, IsTheSameInPieces) {
  Sha256 hash;
  hash.update(bytes_of("a"));
  hash.update({});
  hash.update(bytes_of("bc"));
  EXPECT_EQ(hash.finish(), sha256(bytes_of("abc")));
}

TEST(Hmac, EqualsAPublishedVector) {  // RFC 4231, case 1: the key of 20 bytes, padded with zeros as HMAC itself pads it
  Digest key{};
  for (std::size_t i = 0; i < 20; ++i) key[i] = std::byte{0x0b};
  EXPECT_EQ(hex(hmac_sha256(Secret(key), bytes_of("Hi There"))),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
}

TEST(Secret, IsNewEachTime) {
  const Secret a = Secret::random(), b = Secret::random();
  EXPECT_FALSE(std::ranges::equal(a.bytes(), b.bytes()));
  EXPECT_NE(random_nonce(), random_nonce());
}

TEST(Secret, ComparesDigests) {
  Digest a = sha256({}), b = a;
  EXPECT_TRUE(equal_in_constant_time(a, b));
  b[31] ^= std::byte{1};
  EXPECT_FALSE(equal_in_constant_time(a, b));
}

class SecretFile : public ::testing::Test {
 protected:
  std::string write(const std::string& content, mode_t mode) const {
    const std::string path = folder_.write("secret", content);
    EXPECT_EQ(::chmod(path.c_str(), mode), 0);
    return path;
  }
  testing::TemporaryFolder folder_;
};

TEST_F(SecretFile, IsTheHashOfItsContent) {
  const auto secret = Secret::from_file(write("a secret of many letters", 0600));
  ASSERT_TRUE(secret) << secret.error().text();
  EXPECT_EQ(hex(secret->bytes()), hex(sha256(bytes_of("a secret of many letters"))));
}

TEST_F(SecretFile, MustBeClosedToOthers) {
  const auto secret = Secret::from_file(write("a secret of many letters", 0640));
  ASSERT_FALSE(secret);
  EXPECT_EQ(secret.error().code, Errc::kConfig);
  EXPECT_THAT(secret.error().text(), HasSubstr("chmod 600"));
}

TEST_F(SecretFile, MustNotBeShort) {
  const auto secret = Secret::from_file(write("short", 0600));
  ASSERT_FALSE(secret);
  EXPECT_THAT(secret.error().text(), HasSubstr("holds 5 bytes, expected at least 16"));
}

TEST_F(SecretFile, IsNamedWhenItIsNotThere) {
  const auto secret = Secret::from_file(folder_.file("nothing"));
  ASSERT_FALSE(secret);
  EXPECT_EQ(secret.error().code, Errc::kIo);
  EXPECT_THAT(secret.error().text(), HasSubstr(folder_.file("nothing")));
}

}  // namespace
}  // namespace tutti
