// SPDX-License-Identifier: Apache-2.0
// What a process' training thread is at, as far as it matters to the others of a run.
// Thread safety: a value.
#pragma once

#include <cstdint>

namespace tutti {

enum class Activity : std::uint8_t {
  kStarting,  ///< it has begun no step yet
  kWorking,   ///< it has, and waits for nobody
  kWaiting,   ///< for the others, in an exchange or a collective
  kLeaving,   ///< for everybody's goodbye
};
constexpr Activity last_enumerator(Activity) noexcept {
  return Activity::kLeaving;
}

}  // namespace tutti
