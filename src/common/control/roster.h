// SPDX-License-Identifier: Apache-2.0
// Who belongs to the run and how far each member is: the coordinator's one table of members.
// Thread safety: owned by one thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/control/cause.h"
#include "common/result.h"

namespace tutti {

class Roster {
 public:
  struct Entry {
    std::string host;        ///< empty until the member joined
    std::uint64_t step = 0;  ///< the last one it told
    bool joined = false;
    bool connected = false;
    bool left = false;        ///< it said goodbye: its end is not a loss
    bool exited = false;      ///< its process ended, an agent says
    bool reported = false;    ///< it told why it fails: what its end looks like adds nothing
    std::uint32_t since = 1;  ///< the generation that its process was started in: an older one is somebody else
  };

  Roster(int workers, int servers, int agents);

  /// kMismatch: outside the world, or taken.
  Result<> join(const MemberId& member, const std::string& host);
  /// The place is free for a new process, which is to be started in `generation`: until then there is none. Its step
  /// and host stay, for messages.
  void vacate(const MemberId& member, std::uint32_t generation);
  /// Another world under the same agents. Whoever is in both stays as it is.
  void resize(int workers, int servers);
  /// Null: outside the world.
  Entry* find(const MemberId& member);
  /// REQUIRES: inside the world.
  Entry& at(const MemberId& member) { return entries_.at(member); }
  const Entry& at(const MemberId& member) const { return entries_.at(member); }
  bool is_connected(const MemberId& member) const;

  std::vector<MemberId> connected(Role role) const;
  std::vector<MemberId> connected_but_agents() const;
  std::vector<MemberId> members_but_agents() const;
  /// Whether some, or all, members of `role` have the mark.
  bool any(Role role, bool Entry::*mark) const;
  bool all(Role role, bool Entry::*mark) const;

  /// "rank 3 on nodeB (last at step 17), rank 5 (has not joined)"
  std::string describe_workers(const std::vector<std::int32_t>& ranks) const;

 private:
  std::map<MemberId, Entry> entries_;
};

}  // namespace tutti
