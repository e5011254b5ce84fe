// SPDX-License-Identifier: Apache-2.0
#include "common/control/attempts.h"

#include <algorithm>

namespace tutti {

std::optional<Duration> Attempts::next(const MemberId& member, std::uint64_t step) {
  Record& record = records_[member];
  if (step > record.step) record = {step, 0};
  if (record.tries >= max_) return std::nullopt;
  constexpr int kDoublingsMax = 6;
  const int tries = record.tries++;
  if (tries == 0) return Duration::zero();
  return std::chrono::seconds(1 << std::min(tries - 1, kDoublingsMax));
}

}  // namespace tutti
