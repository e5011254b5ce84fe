// SPDX-License-Identifier: Apache-2.0
// Told of every pass over a tensor's bytes, so that a test can count what one byte costs and see which memory it was.
// Whoever moves bytes has a pointer to one, which is null outside of tests.
// Thread safety: called on whichever thread moves the bytes; a meter that two threads share locks.
#pragma once

#include <cstddef>

namespace tutti {

/// What is done to bytes.
enum class BytePass {
  kWritten,  ///< handed to the system to be sent
  kRead,     ///< received from the system
  kChecked,  ///< read once more for their checksum
  kCopied,   ///< read by memcpy; where they went is kStored
  kSummed,   ///< read by a sum
  kStored,   ///< written by a sum or by memcpy
};

class CopyMeter {
 public:
  virtual ~CopyMeter() = default;
  virtual void count(BytePass pass, const std::byte* at, std::size_t bytes) = 0;
};

/// Nothing where there is no meter.
inline void count_pass(CopyMeter* meter, BytePass pass, const std::byte* at, std::size_t bytes) {
  if (meter != nullptr) meter->count(pass, at, bytes);
}

}  // namespace tutti
