// SPDX-License-Identifier: Apache-2.0
// TUTTI_ASSERT: a bug of ours ends the process at once, with the condition, the reason and the place.
#pragma once

namespace tutti {
[[noreturn]] void assertion_failed(const char* condition, const char* why, const char* file, int line) noexcept;
}  // namespace tutti

#define TUTTI_ASSERT(condition, why) \
  ((condition) ? static_cast<void>(0) : ::tutti::assertion_failed(#condition, why, __FILE__, __LINE__))
