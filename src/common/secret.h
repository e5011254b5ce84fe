// SPDX-License-Identifier: Apache-2.0
// The job's secret and what is computed with it. It never appears in a log, an argument or an environment variable.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>

#include "common/result.h"

namespace tutti {

using Digest = std::array<std::byte, 32>;
using Nonce = std::array<std::byte, 32>;

/// 32 random bytes made for one job. Cleared when destroyed.
class Secret {
 public:
  Secret() = default;
  explicit Secret(const Digest& bytes) : bytes_(bytes) {}
  ~Secret();
  Secret(const Secret&) = default;
  Secret& operator=(const Secret&) = default;

  static Secret random();
  /// The SHA-256 of a file of at least 16 bytes that only its owner can read.
  static Result<Secret> from_file(const std::string& path);

  std::span<const std::byte, 32> bytes() const { return bytes_; }

 private:
  Digest bytes_{};
};

Digest hmac_sha256(const Secret& secret, std::span<const std::byte> message);
Digest sha256(std::span<const std::byte> bytes);
/// Takes the same time wherever the first difference lies.
bool equal_in_constant_time(const Digest& a, const Digest& b) noexcept;
/// From the system's generator of cryptographic random numbers.
Nonce random_nonce();
std::string hex(std::span<const std::byte> bytes);

/// SHA-256 over bytes that come in pieces.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  void update(std::span<const std::byte> bytes);
  /// REQUIRES: called once.
  Digest finish();

 private:
  void* context_;
};

}  // namespace tutti
