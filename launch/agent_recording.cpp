// SPDX-License-Identifier: Apache-2.0
#include "launch/agent_recording.h"

#include <fmt/format.h>

#include <filesystem>
#include <optional>
#include <set>

#include "common/whereabouts.h"

namespace tutti::launch {
namespace {

RecordedProcess agent_process(int agent, const std::string& host) {
  return {.role = Role::kAgent, .rank = agent, .generation = 1, .pid = 0, .host = host};
}

/// The one of the greatest generation, since a replacement's folder also holds its predecessor's.
std::optional<Recording> newest_of(const MemberId& member, const std::string& folder) {
  std::optional<Recording> newest;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = recording_name({.role = member.role, .rank = member.rank});
    if (!entry.path().filename().string().starts_with(name.substr(0, name.find(".g") + 2))) continue;
    auto recording = read_recording(entry.path().string());
    if (!recording || (newest && newest->process.generation >= recording->process.generation)) continue;
    newest = std::move(*recording);
  }
  return newest;
}

}  // namespace

AgentRecording::AgentRecording(std::string folder, int agent, const std::string& host, const Logger& log,
                               const std::string& trace)
    : folder_(std::move(folder)), recorder_(begin_recording(folder_, agent_process(agent, host), log)) {
  auto part = begin_part(trace, agent_process(agent, host), log);
  if (part) {
    part_ = *std::move(part);
  } else {
    log.warning("has no part in the trace: {}", part.error().text());
  }
}

void AgentRecording::started(const MemberId& child) {
  record(EventKind::kMemberJoined, child);
}

std::string AgentRecording::ended(const MemberId& child, int wait_status, std::uint64_t step) {
  const bool well = wait_status == 0;
  record(well ? EventKind::kMemberLeft : EventKind::kMemberLost, child, step, static_cast<std::uint64_t>(wait_status));
  if (well) return "";
  const auto recording = newest_of(child, folder_);
  return recording ? describe(locate(*recording), clock_.now()) : "";
}

void AgentRecording::run_ended() {
  record(EventKind::kRunEnded, {Role::kAgent, -1});
}

void AgentRecording::record(EventKind kind, const MemberId& about, std::uint64_t step, std::uint64_t bytes) {
  const Event event{clock_.now(), kind, about.rank, 0, step, static_cast<std::uint32_t>(about.role), 0, bytes};
  if (recorder_) recorder_->record(event);
  if (part_) part_->record(event);
}

std::string describe_recordings(const std::string& folder, const std::vector<std::string>& hosts) {
  std::set<std::string> elsewhere;
  for (std::size_t agent = 0; agent < hosts.size(); ++agent) {
    const std::string name = recording_name(agent_process(static_cast<int>(agent), hosts[agent]));
    if (hosts[agent] != hosts[0] && !std::filesystem::exists(folder + "/" + name)) elsewhere.insert(hosts[agent]);
  }
  std::string text = "recordings: " + folder;
  if (!elsewhere.empty()) {
    text += fmt::format(" of {}, and the same folder of {}", hosts[0], fmt::join(elsewhere, ", "));
  }
  return text + "; tutti explain " + folder;
}

}  // namespace tutti::launch
