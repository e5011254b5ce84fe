// SPDX-License-Identifier: Apache-2.0
#include "worker/session_trace.h"

#include <filesystem>
#include <utility>
#include <vector>

#include "common/trace/merge.h"

namespace tutti::worker {
namespace {

const std::string kReady = "tutti/trace";  // in the run's store: no part of an older run is there any more

/// The program may change its working folder.
std::string absolute(const std::string& path) {
  std::error_code error;
  const auto found = std::filesystem::absolute(path, error);
  return error ? path : found.string();
}

Result<> prepare(const Rendezvous& meeting, const std::string& trace, Deadline deadline) {
  if (meeting.identity.way == Way::kManaged) return {};  // agent 0 has done it
  if (meeting.identity.rank == 0) {
    TUTTI_TRY(prepare_trace(trace));
    return meeting.member ? meeting.member->set(kReady, "") : Result<>();
  }
  const auto ready = meeting.member->get(kReady, deadline);
  return ready ? Result<>() : Result<>(ready.error());
}

}  // namespace

Result<std::unique_ptr<SessionTrace>> SessionTrace::begin(const Rendezvous& meeting, Deadline deadline,
                                                          const Logger& log) {
  const Identity& self = meeting.identity;
  if (meeting.config.trace.empty()) return std::unique_ptr<SessionTrace>();
  std::string trace = absolute(meeting.config.trace);
  TUTTI_TRY(prepare(meeting, trace, deadline));
  const std::uint32_t generation = meeting.member ? meeting.member->generation() : 1;
  auto part = begin_part(
      trace, {.role = Role::kWorker, .rank = self.rank, .generation = generation, .pid = 0, .host = self.host}, log);
  if (!part && self.newcomer) {
    log.warning("has no part in the trace: {}", part.error().text());
    return std::unique_ptr<SessionTrace>();
  }
  if (!part) return part.error();
  if (meeting.member) meeting.member->record_clock_to(**part);
  const bool makes_it = self.way != Way::kManaged && self.rank == 0;
  return std::unique_ptr<SessionTrace>(new SessionTrace(makes_it ? std::move(trace) : "", *std::move(part)));
}

void SessionTrace::finish(const Logger& log) noexcept {
  if (trace_.empty()) return;
  const auto told = finish_trace(std::exchange(trace_, ""));
  if (!told) return log.warning("the trace was not finished, its parts stay: {}", told.error().text());
  for (const std::string& why : *told) log.warning("the trace lacks a part: {}", why);
}

}  // namespace tutti::worker
