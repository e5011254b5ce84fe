// SPDX-License-Identifier: Apache-2.0
// How the world of a run may change while it lasts: to another number of workers, or to the same number under fewer
// agents. Who decides how a world is dealt out to agents is not the coordinator, which asks for a plan and hands each
// agent its share of it, unread.
// Thread safety: values.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "common/clock.h"
#include "common/control/cause.h"
#include "common/result.h"

namespace tutti {

/// A world of a run.
struct WorldPlan {
  int workers = 0;
  int servers = 0;
  std::map<MemberId, std::int32_t> homes;  ///< the agents that start the members
  std::string share;                       ///< what every agent is told of it
};

struct Elasticity {
  int least = 0;                 ///< workers
  int most = 0;                  ///< 0: their number stays
  bool outlives_agents = false;  ///< a lost agent's share is dealt out to the others; not where all of them end with it
  /// Pure. `without`: agents that get nothing. None: the world never changes.
  std::function<Result<WorldPlan>(int workers, const std::set<std::int32_t>& without)> plan = {};

  bool is_fixed() const noexcept { return most == 0; }
};

/// kAssign, to every agent, before the processes of another world are started.
struct Assign {
  std::string share;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(share);
  }
};

/// What the coordinator knows of changes to come.
struct WorldChange {
  struct AgentLoss {
    Cause cause;
    TimePoint due{};  ///< until then the kernel has ended whatever the agent had started
  };
  std::map<std::int32_t, AgentLoss> losses;  ///< agents whose connection has just closed
  std::set<std::int32_t> gone;               ///< agents that were lost
  std::set<std::int32_t> worn;               ///< agents whose only worker was lost for good
  std::optional<WorldPlan> next;             ///< it begins when every process of this one is gone
  std::optional<TimePoint> stop_deadline;    ///< the workers were asked to stop after their step, for `next`
  bool stopped = false;                      ///< and one of them has
};

}  // namespace tutti
