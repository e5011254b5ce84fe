// SPDX-License-Identifier: Apache-2.0
// What the simulator is there to find: a promise that was not kept.
#pragma once

#include <fmt/format.h>

#include <stdexcept>

namespace tutti::sim {

class Violation : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Ends the world with a sentence, unless `holds`.
template <class... Arguments>
void check(bool holds, fmt::format_string<Arguments...> sentence, Arguments&&... arguments) {
  if (!holds) throw Violation(fmt::format(sentence, std::forward<Arguments>(arguments)...));
}

}  // namespace tutti::sim
