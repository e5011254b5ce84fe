// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/vital_signs.h"

#include <utility>

#include "common/pulse.h"
#include "tests/sim/settings.h"

namespace tutti::sim {

void VitalSigns::begin() {
  beat();
}

void VitalSigns::beat() {
  page_->beat();
  process_.after(kTimeout / (2 * kHeartbeatsInTimeout), [this] { beat(); });
}

void VitalSigns::begin_step(std::uint64_t step) {
  has_begun_ = true;
  page_->set_step(step);
  set(Activity::kWorking);
}

void VitalSigns::begin_wait() {
  wait_began_ = process_.now();
  set(Activity::kWaiting);
}

void VitalSigns::end_wait() {
  if (const auto began = std::exchange(wait_began_, std::nullopt)) waited_ += process_.now() - *began;
  page_->set_waited(waited_);
  set(not_waiting());
}

}  // namespace tutti::sim
