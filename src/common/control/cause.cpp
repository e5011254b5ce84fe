// SPDX-License-Identifier: Apache-2.0
#include "common/control/cause.h"

#include <csignal>
#include <cstring>

#include "common/assert.h"

namespace tutti {
namespace {

constexpr int kExitFirst = 64;
constexpr int kExitLast = 78;
constexpr int kExitPeerLost = 69;
constexpr int kExitBug = 70;

std::string describe_signal(int signal) {
  const char* name = sigdescr_np(signal);
  return std::to_string(signal) + " (" + (name ? name : "unknown") + ")";
}

std::string describe_end(const Cause& cause) {
  switch (cause.how) {
    case Cause::How::kReported:
      return "failed";
    case Cause::How::kLost:
      return "was lost";
    case Cause::How::kLeftEarly:
      return "ended without leaving the run";
    case Cause::How::kExited:
      break;
  }
  if (cause.signal != 0) return "was killed by signal " + describe_signal(cause.signal);
  return "exited with code " + std::to_string(cause.exit_code);
}

std::string describe_moment(const Cause& cause) {
  if (cause.member.role != Role::kWorker) return "";
  return cause.step == 0 ? " before its first step" : " at step " + std::to_string(cause.step);
}

// Signals that an agent ends its children with, and the one that an uncaught exception ends in: on others than the
// member that is blamed they follow from the end of the run.
bool is_signal_of_ending(int signal) {
  return signal == SIGTERM || signal == SIGKILL || signal == SIGABRT;
}

bool is_specific(const Cause& cause) {
  if (cause.how == Cause::How::kReported) return true;
  if (cause.how != Cause::How::kExited) return false;
  if (cause.signal != 0) return !is_signal_of_ending(cause.signal);
  return cause.exit_code >= kExitFirst && cause.exit_code <= kExitLast && cause.exit_code != kExitPeerLost;
}

}  // namespace

std::string describe(const MemberId& member) {
  constexpr const char* names[] = {"rank ", "shard ", "agent "};
  return names[static_cast<int>(member.role)] + std::to_string(member.rank);
}

std::string_view Cause::reason() const noexcept {
  if (member.role == Role::kAgent && how == How::kLost) return "agent_lost";
  switch (judged) {
    case Judged::kSilent:
      return "silent";
    case Judged::kStuck:
      return "stuck";
    case Judged::kUnreachable:
      return "unreachable";
    case Judged::kNot:
      break;
  }
  switch (how) {
    case How::kReported:
      return "reported";
    case How::kLost:
      return "connection";
    case How::kLeftEarly:
      return "left_early";
    case How::kExited:
      break;
  }
  return signal != 0 ? "killed" : "exited";
}

std::string Cause::text() const {
  std::string text = describe(member);
  if (!host.empty()) text += " on " + host;
  text += " " + describe_end(*this) + describe_moment(*this);
  if (!doing.empty()) text += " (" + doing + ")";
  if (last_error.empty()) return text;
  return text + (how == How::kExited ? ": last error: " : ": ") + last_error;
}

int Cause::run_exit_code() const {
  if (is_beyond_repair) return kExitPeerLost;
  switch (how) {
    case How::kReported:
      return tutti::exit_code(code);
    case How::kLost:
      return kExitPeerLost;
    case How::kLeftEarly:
      return kExitBug;
    case How::kExited:
      break;
  }
  return signal == 0 && exit_code >= kExitFirst && exit_code <= kExitLast ? exit_code : kExitBug;
}

void Verdict::consider(Cause cause, Certainty certainty, TimePoint now) {
  if (!replaces(cause, certainty)) return;
  if (!cause_) due_ = now + patience_;
  if (certainty == Certainty::kKnown) due_ = now;
  cause_ = std::move(cause);
  certainty_ = certainty;
}

bool Verdict::replaces(const Cause& cause, Certainty certainty) const {
  if (!cause_) return true;
  if (certainty <= certainty_) return false;
  return !pronounced_ || cause.member == cause_->member || is_specific(cause);
}

std::optional<TimePoint> Verdict::next_deadline() const {
  if (!cause_ || pronounced_) return std::nullopt;
  return due_;
}

const Cause& Verdict::pronounce() {
  TUTTI_ASSERT(cause_ && !pronounced_, "there is a cause, and it is told once");
  pronounced_ = true;
  return *cause_;
}

}  // namespace tutti
