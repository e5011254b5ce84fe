// SPDX-License-Identifier: Apache-2.0
// The control parts of the frames between a member and the coordinator, as cereal writes them. A request carries a
// number that its reply repeats, and how long its sender will wait: the coordinator answers a request that is late with
// who is missing.
// Thread safety: values.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "common/activity.h"
#include "common/bounded_archive.h"
#include "common/clock.h"
#include "common/control/cause.h"
#include "common/control/gather_table.h"
#include "common/control/happening.h"

namespace tutti {

constexpr Errc last_enumerator(Errc) noexcept {
  return Errc::kInternal;
}

/// A wait beyond that is one without an end; and its sum with the time does not overflow.
inline constexpr Duration kLongestWait = std::chrono::hours(24 * 365);

/// A time out of a message, which may hold any number: at most kLongestWait.
inline Duration duration_of(std::uint64_t ns) {
  constexpr std::uint64_t kMost = kLongestWait.count();
  return Duration(static_cast<std::int64_t>(std::min(ns, kMost)));
}

/// kJoin. Who joins was proved in the handshake. Its request number is 0.
struct Join {
  std::uint64_t request = 0;
  std::uint64_t wait_ns = 0;
  std::int32_t workers = 0;  ///< the world size the member was started with; 0: it does not know
  std::string host;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(request, wait_ns, workers, host);
  }
};

/// kContribute: the sender's contribution to a gather.
struct Contribute {
  std::uint64_t request = 0;
  std::uint64_t wait_ns = 0;
  GatherKey gather;
  std::string bytes;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(request, wait_ns, gather, bytes);
  }
};

enum class StoreVerb : std::uint8_t { kSet, kGet, kAdd, kContains, kErase };
constexpr StoreVerb last_enumerator(StoreVerb) noexcept {
  return StoreVerb::kErase;
}

/// kStoreRequest. All verbs but kContains name one key.
struct StoreRequest {
  std::uint64_t request = 0;
  std::uint64_t wait_ns = 0;
  StoreVerb verb = StoreVerb::kGet;
  std::vector<std::string> keys;
  std::string value;        ///< kSet
  std::int64_t amount = 0;  ///< kAdd
  template <class Archive>
  void serialize(Archive& archive) {
    archive(request, wait_ns, verb, keys, value, amount);
  }
};

/// kLeave
struct Leave {
  std::uint64_t request = 0;
  std::uint64_t wait_ns = 0;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(request, wait_ns);
  }
};

/// kRegroup, from the coordinator: a new generation begins. Requests under way are void; whoever lives on meets the
/// others in the gathers of kind kRegroup.
struct Regroup {
  std::uint32_t generation = 0;
  std::vector<MemberId> lost;  ///< whose places are given to new processes
  std::string why;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(generation, lost, why);
  }
};

/// kRestart, to the coordinator: the sender cannot go on in this generation, everybody has to begin again.
struct Restart {
  std::string why;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(why);
  }
};

/// kUnreachable, to the coordinator: the peers that the sender cannot reach now, all of them; again and again while
/// there are some. It is hearsay: either side may be the one that is cut off.
struct Unreachable {
  struct Peer {
    MemberId member;
    std::uint64_t silent_ns = 0;  ///< since the sender heard of it last
    template <class Archive>
    void serialize(Archive& archive) {
      archive(member, silent_ns);
    }
  };
  std::vector<Peer> peers;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(peers);
  }
};

/// kWish, to a worker: the user wants something of the run. It travels on in the next exchange, so that all ranks act
/// on it after the same step.
struct WishMessage {
  Wish wish{};
  template <class Archive>
  void serialize(Archive& archive) {
    archive(wish);
  }
};

/// kClockQuestion, to the coordinator: what time is it there? For traces.
struct ClockQuestion {
  std::uint64_t sent_ns = 0;  ///< by the sender's clock: it is given back
  template <class Archive>
  void serialize(Archive& archive) {
    archive(sent_ns);
  }
};

/// kClockAnswer
struct ClockAnswer {
  std::uint64_t sent_ns = 0;
  std::uint64_t now_ns = 0;  ///< by the coordinator's monotonic clock
  template <class Archive>
  void serialize(Archive& archive) {
    archive(sent_ns, now_ns);
  }
};

/// kStart, to an agent: start the member's process again.
struct Start {
  MemberId member;
  std::uint32_t generation = 0;
  bool newcomer = false;  ///< the others go on; false: everybody begins again
  template <class Archive>
  void serialize(Archive& archive) {
    archive(member, generation, newcomer);
  }
};

/// kEvict, to an agent: kill the member's process; its end is reported like any other.
struct Evict {
  MemberId member;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(member);
  }
};

/// kJoined, kGathered, kStoreReply, kLeft
struct Reply {
  std::uint64_t request = 0;
  bool ok = true;
  Errc code = Errc::kInternal;      ///< when not ok
  std::string text;                 ///< when not ok
  std::vector<std::string> values;  ///< kGathered: the contributions in rank order; kStoreReply of kGet: the value
  std::int64_t number = 0;  ///< kJoined: the generation; kStoreReply: the sum of kAdd, 1 or 0 of kContains and kErase
  template <class Archive>
  void serialize(Archive& archive) {
    archive(request, ok, code, text, values, number);
  }
};

/// kAbort: to the coordinator, why the sender fails; from it, why the run ends.
struct Abort {
  Errc code = Errc::kInternal;
  MemberId guilty;
  std::string text;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(code, guilty, text);
  }
};

/// kChildExited
struct ChildExited {
  MemberId member;
  std::int32_t wait_status = 0;  ///< as waitpid gave it
  std::uint64_t step = 0;
  std::string last_error;
  std::string doing = {};  ///< by its recording; empty where there is none
  template <class Archive>
  void serialize(Archive& archive) {
    archive(member, wait_status, step, last_error, doing);
  }
};

/// How a child of an agent is, as its status page says.
struct ChildBeat {
  MemberId member;
  Activity activity = Activity::kStarting;
  std::uint64_t step = 0;
  std::uint64_t silent_ns = 0;  ///< since the last sign of its loop thread; 0 before the first
  std::uint64_t since_ns = 0;   ///< how long it has been in its wait
  std::uint64_t waited_ns = 0;  ///< in all its exchanges
  template <class Archive>
  void serialize(Archive& archive) {
    archive(member, activity, step, silent_ns, since_ns, waited_ns);
  }
};

/// kHeartbeat, from an agent, for all its children.
struct Heartbeat {
  std::uint64_t sent_ns = 0;  ///< by the agent's clock: it is given back
  std::vector<ChildBeat> children;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(sent_ns, children);
  }
};

/// kLease, the answer: the agent's children may start steps for a timeout from when that heartbeat was sent.
struct Lease {
  std::uint64_t sent_ns = 0;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(sent_ns);
  }
};

/// kShutdown
struct Shutdown {
  std::int32_t exit_code = 0;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(exit_code);
  }
};

}  // namespace tutti
