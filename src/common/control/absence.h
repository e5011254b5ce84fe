// SPDX-License-Identifier: Apache-2.0
// How long the parts of a managed run wait for one another when a connection of the coordinator's breaks.
// Thread safety: functions without state.
#pragma once

#include "common/clock.h"
#include "common/config.h"

namespace tutti {

/// A member whose connection to the coordinator broke may make it again for so long, and keeps its place. Zero, where
/// nobody is replaced: then a connection that breaks is a loss.
inline Duration absence_of(const RunConfig& config) {
  return config.replacements > 0 ? from_seconds(config.timeout_s) : Duration::zero();
}

/// So many timeouts everybody waits for a coordinator that nobody hears of, before the run ends.
inline constexpr int kCutOffTimeouts = 20;

}  // namespace tutti
