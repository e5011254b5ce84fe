// SPDX-License-Identifier: Apache-2.0
#include "common/secret.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <sys/stat.h>

#include <cerrno>

#include "common/assert.h"
#include "common/file.h"

namespace tutti {
namespace {

constexpr std::size_t kSecretFileBytesMin = 16;
constexpr std::size_t kSecretFileBytesMax = 64 << 10;

unsigned char* data_of(Digest& digest) {
  return reinterpret_cast<unsigned char*>(digest.data());
}

}  // namespace

Secret::~Secret() {
  OPENSSL_cleanse(bytes_.data(), bytes_.size());
}

Secret Secret::random() {
  Secret secret;
  TUTTI_ASSERT(RAND_priv_bytes(data_of(secret.bytes_), static_cast<int>(secret.bytes_.size())) == 1,
               "the system gives no random numbers");
  return secret;
}

Result<Secret> Secret::from_file(const std::string& path) {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status {};
  if (!file || ::fstat(file.get(), &status) != 0) {
    return fail_errno("the secret file " + path + " cannot be read", errno);
  }
  if ((status.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    return fail(Errc::kConfig, "the secret file " + path + " is open to others than its owner: chmod 600 " + path);
  }
  auto content = read_all(file.get(), kSecretFileBytesMax, path);
  if (!content) return std::move(content).error();
  if (content->size() < kSecretFileBytesMin) {
    return fail(Errc::kConfig, "the secret file " + path + " holds " + std::to_string(content->size()) +
                                   " bytes, expected at least " + std::to_string(kSecretFileBytesMin));
  }
  Secret secret(sha256(std::as_bytes(std::span(*content))));
  OPENSSL_cleanse(content->data(), content->size());
  return secret;
}

Digest hmac_sha256(const Secret& secret, std::span<const std::byte> message) {
  Digest digest;
  const auto* made =
      HMAC(EVP_sha256(), secret.bytes().data(), static_cast<int>(secret.bytes().size()),
           reinterpret_cast<const unsigned char*>(message.data()), message.size(), data_of(digest), nullptr);
  TUTTI_ASSERT(made != nullptr, "OpenSSL has HMAC-SHA256");
  return digest;
}

Digest sha256(std::span<const std::byte> bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.finish();
}

bool equal_in_constant_time(const Digest& a, const Digest& b) noexcept {
  return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

Nonce random_nonce() {
  Nonce nonce;
  TUTTI_ASSERT(RAND_bytes(data_of(nonce), static_cast<int>(nonce.size())) == 1, "the system gives no random numbers");
  return nonce;
}

std::string hex(std::span<const std::byte> bytes) {
  constexpr char digits[] = "0123456789abcdef";
  std::string text;
  text.reserve(2 * bytes.size());
  for (const std::byte byte : bytes) {
    text += digits[std::to_integer<unsigned>(byte) >> 4];
    text += digits[std::to_integer<unsigned>(byte) & 15];
  }
  return text;
}

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  TUTTI_ASSERT(context_ != nullptr && EVP_DigestInit_ex(static_cast<EVP_MD_CTX*>(context_), EVP_sha256(), nullptr) == 1,
               "OpenSSL has SHA-256");
}

Sha256::~Sha256() {
  EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(context_));
}

void Sha256::update(std::span<const std::byte> bytes) {
  TUTTI_ASSERT(EVP_DigestUpdate(static_cast<EVP_MD_CTX*>(context_), bytes.data(), bytes.size()) == 1,
               "the hash was not finished yet");
}

Digest Sha256::finish() {
  Digest digest;
  TUTTI_ASSERT(EVP_DigestFinal_ex(static_cast<EVP_MD_CTX*>(context_), data_of(digest), nullptr) == 1,
               "the hash was not finished yet");
  return digest;
}

}  // namespace tutti
