// SPDX-License-Identifier: Apache-2.0
// What whoever watches a run wants to see of its members: the coordinator's machine tells it besides what it does.
// Thread safety: values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/control/cause.h"

namespace tutti {

struct Happening {
  enum class What : std::uint8_t {
    kJoined,     ///< `member`: a process is there
    kLost,       ///< `member`: `reason` says how, in one word
    kLeft,       ///< `member`: its process ended well
    kQuiet,      ///< `member` has not been heard of for a while
    kSlow,       ///< the others wait for `member`
    kRestarted,  ///< all workers begin again
    kResized,    ///< another world is on its way; with `workers`: it begins
    kStopping,   ///< the user wants the run to end
    kEnded,      ///< `exit_code`
    kNotice,     ///< anything else that was told to the user
  };
  What what = What::kNotice;
  std::optional<MemberId> member = {};
  std::string host = {};  ///< of the member, where it is known
  std::uint32_t generation = 0;
  std::uint64_t step = 0;
  std::string_view reason = {};  ///< of kLost; a constant
  int exit_code = 0;
  int workers = 0, shards = 0;  ///< of a world that begins
  std::string text = {};        ///< one line for people
};

/// What the user wants of a run that is under way.
enum class Wish : std::uint8_t {
  kCheckpoint,  ///< save after this step
  kStop,        ///< end after this step, as one that is asked to stop
};
constexpr Wish last_enumerator(Wish) noexcept {
  return Wish::kStop;
}

}  // namespace tutti
