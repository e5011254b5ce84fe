// SPDX-License-Identifier: Apache-2.0
#include "common/control/roster.h"

#include <algorithm>

namespace tutti {
namespace {

// More than these tell a reader nothing new.
constexpr std::size_t kNamesMax = 8;

std::string describe_progress(const Roster::Entry& entry) {
  if (entry.exited) return " (has ended)";
  if (!entry.joined) return " (has not joined)";
  if (!entry.connected) return " (was lost)";
  if (entry.left) return " (has left)";
  return entry.step == 0 ? " (before its first step)" : " (last at step " + std::to_string(entry.step) + ")";
}

}  // namespace

Roster::Roster(int workers, int servers, int agents) {
  for (std::int32_t rank = 0; rank < workers; ++rank) entries_[{Role::kWorker, rank}];
  for (std::int32_t rank = 0; rank < servers; ++rank) entries_[{Role::kServer, rank}];
  for (std::int32_t rank = 0; rank < agents; ++rank) entries_[{Role::kAgent, rank}];
}

Result<> Roster::join(const MemberId& member, const std::string& host) {
  Entry* entry = find(member);
  if (!entry) return fail(Errc::kMismatch, describe(member) + " is not part of this run");
  if (entry->joined) {
    return fail(Errc::kMismatch, describe(member) + " is taken already, by a process on " + entry->host);
  }
  entry->host = host;
  entry->joined = entry->connected = true;
  return {};
}

void Roster::vacate(const MemberId& member, std::uint32_t generation) {
  const Entry before = at(member);
  at(member) = Entry{.host = before.host, .step = before.step, .exited = true, .since = generation};
}

void Roster::resize(int workers, int servers) {
  std::erase_if(entries_, [&](const auto& entry) {
    const auto& [role, rank] = entry.first;
    return (role == Role::kWorker && rank >= workers) || (role == Role::kServer && rank >= servers);
  });
  for (std::int32_t rank = 0; rank < workers; ++rank) entries_[{Role::kWorker, rank}];
  for (std::int32_t rank = 0; rank < servers; ++rank) entries_[{Role::kServer, rank}];
}

Roster::Entry* Roster::find(const MemberId& member) {
  const auto found = entries_.find(member);
  return found == entries_.end() ? nullptr : &found->second;
}

bool Roster::is_connected(const MemberId& member) const {
  const auto found = entries_.find(member);
  return found != entries_.end() && found->second.connected;
}

std::vector<MemberId> Roster::connected(Role role) const {
  std::vector<MemberId> members;
  for (const auto& [member, entry] : entries_) {
    if (member.role == role && entry.connected) members.push_back(member);
  }
  return members;
}

std::vector<MemberId> Roster::connected_but_agents() const {
  std::vector<MemberId> members = connected(Role::kWorker);
  for (const MemberId& server : connected(Role::kServer)) members.push_back(server);
  return members;
}

std::vector<MemberId> Roster::members_but_agents() const {
  std::vector<MemberId> members;
  for (const auto& [member, entry] : entries_) {
    if (member.role != Role::kAgent) members.push_back(member);
  }
  return members;
}

bool Roster::any(Role role, bool Entry::*mark) const {
  return std::ranges::any_of(entries_, [&](const auto& e) { return e.first.role == role && e.second.*mark; });
}

bool Roster::all(Role role, bool Entry::*mark) const {
  return std::ranges::all_of(entries_, [&](const auto& e) { return e.first.role != role || e.second.*mark; });
}

std::string Roster::describe_workers(const std::vector<std::int32_t>& ranks) const {
  std::string text;
  for (std::size_t i = 0; i < std::min(ranks.size(), kNamesMax); ++i) {
    const MemberId member{Role::kWorker, ranks[i]};
    const Entry& entry = entries_.at(member);
    if (i > 0) text += ", ";
    text += describe(member) + (entry.joined ? " on " + entry.host : "") + describe_progress(entry);
  }
  if (ranks.size() > kNamesMax) text += " and " + std::to_string(ranks.size() - kNamesMax) + " more";
  return text;
}

}  // namespace tutti
