// SPDX-License-Identifier: Apache-2.0
// One GET, for `tutti status`.
// Thread safety: a function without state; it waits.
#pragma once

#include <string>

#include "common/clock.h"
#include "common/result.h"

namespace tutti::monitor {

/// The body at `url` ("http://127.0.0.1:41234/") followed by `path`. Errors: kUnavailable where nobody listens or
/// answers in time, kProtocol for another answer than 200.
Result<std::string> http_get(const std::string& url, const std::string& path, Duration timeout);

}  // namespace tutti::monitor
