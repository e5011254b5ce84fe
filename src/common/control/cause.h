// SPDX-License-Identifier: Apache-2.0
// Why a run ended: which member, where, at which step, how. From the reports that come in, Verdict picks the one that
// is told to the user: the first cause, not one of the many failures that follow from it.
// Thread safety: values; a Verdict is owned by one thread.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>

#include "common/clock.h"
#include "common/net/handshake_fsm.h"
#include "common/result.h"

namespace tutti {

/// A member, as every message names it.
struct MemberId {
  Role role = Role::kWorker;
  std::int32_t rank = 0;

  auto operator<=>(const MemberId&) const = default;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(role, rank);
  }
};
std::string describe(const MemberId& member);  // "rank 2", "shard 0", "agent 1"

struct Cause {
  enum class How : std::uint8_t {
    kExited,     ///< its process ended, by `signal` or with `exit_code`
    kReported,   ///< it said so itself, with `code`
    kLost,       ///< its connection closed
    kLeftEarly,  ///< its process ended with 0 while the run went on
  };

  MemberId member;
  std::string host;
  std::uint64_t step = 0;
  int signal = 0;  ///< 0: it exited by itself
  int exit_code = 0;
  std::string last_error;  ///< the last line it wrote to stderr, or its own words
  std::string doing;       ///< at its end, by its recording: "had waited 1.204 s for bucket 3"
  How how = How::kExited;
  Errc code = Errc::kPeerLost;  ///< what the other members fail with
  /// Of kLost where the coordinator's judgement is all there is.
  enum class Judged : std::uint8_t { kNot, kSilent, kStuck, kUnreachable } judged = Judged::kNot;
  bool is_told = false;           ///< whoever watches knows of the loss
  bool is_beyond_repair = false;  ///< it could have been made good, but there was nothing left to begin again from

  /// In one word, for counters: "killed" (by a signal), "exited", "reported", "left_early", "silent", "stuck",
  /// "unreachable", "connection" (it closed), "agent_lost".
  std::string_view reason() const noexcept;
  std::string text() const;  ///< "rank 1 on node2 was killed by signal 9 (Killed) at step 37: last error: ..."
  /// The exit code of the run: a code from 64 to 78 is handed on, anything else counts as a bug (70).
  int run_exit_code() const;
};

/// How far a report can be the first cause.
enum class Certainty : std::uint8_t {
  kHearsay,  ///< of a kind that another member's end makes: a peer lost, a deadline passed, a collective failed
  kLost,     ///< the member is gone, and nothing says why
  kKnown,    ///< the member's end is its own
};

/// A report that is less than certain waits a moment for a better one. Once a cause is pronounced only the missing
/// reason for a loss can still replace it: other failures that arrive then are its consequences.
class Verdict {
 public:
  /// `patience`: how long a report waits that is less than kKnown.
  explicit Verdict(Duration patience) : patience_(patience) {}

  void consider(Cause cause, Certainty certainty, TimePoint now);
  bool is_due(TimePoint now) const { return cause_ && !pronounced_ && now >= due_; }
  /// When is_due() will be true, if nothing better is reported.
  std::optional<TimePoint> next_deadline() const;
  /// REQUIRES: is_due().
  const Cause& pronounce();
  /// The best so far.
  const std::optional<Cause>& cause() const { return cause_; }

 private:
  bool replaces(const Cause& cause, Certainty certainty) const;

  const Duration patience_;
  std::optional<Cause> cause_;
  Certainty certainty_{};
  TimePoint due_{};
  bool pronounced_ = false;
};

}  // namespace tutti
