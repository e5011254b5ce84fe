// SPDX-License-Identifier: Apache-2.0
// The exchange of a world of one rank: an average, a sum and a broadcast of one contribution are that contribution.
// Thread safety: as Exchange says.
#pragma once

#include <memory>

#include "worker/exchange.h"

namespace tutti::worker {

std::unique_ptr<Exchange> make_local_exchange();

}  // namespace tutti::worker
