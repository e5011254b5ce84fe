// SPDX-License-Identifier: Apache-2.0
// What somebody who mistyped a name meant.
// Thread safety: a function without state.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tutti {

/// The known name nearest to `name` by insertions, deletions and replacements; empty when none is near.
std::string nearest(std::string_view name, const std::vector<std::string>& known);

}  // namespace tutti
