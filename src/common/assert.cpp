// SPDX-License-Identifier: Apache-2.0
#include "common/assert.h"

#include <cstdio>
#include <cstdlib>

namespace tutti {

void assertion_failed(const char* condition, const char* why, const char* file, int line) noexcept {
  std::fprintf(stderr, "%s:%d: this is a bug in tutti: %s (%s does not hold)\n", file, line, why, condition);
  std::abort();
}

}  // namespace tutti
