// SPDX-License-Identifier: Apache-2.0
// How agents agree at the start of a run: what one of them found out, or why it could not, is what all of them have. So
// a failure is seen by every agent at the same call, and nobody waits for one that has given up. Thread safety:
// functions without state, on the main thread.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "common/bounded_archive.h"
#include "common/result.h"
#include "launch/agent_world.h"

namespace tutti::launch {

/// A Result as it travels.
template <class T>
struct Finding {
  bool found = false;
  std::int32_t code = 0;
  std::string failure;
  T value{};
  template <class Archive>
  void serialize(Archive& archive) {
    archive(found, code, failure, value);
  }
};

template <class T>
std::string pack(const Result<T>& result) {
  if (result) return encode(Finding<T>{true, 0, {}, *result});
  return encode(Finding<T>{false, static_cast<std::int32_t>(result.error().code), result.error().text(), {}});
}

template <class T>
Result<T> unpack(const std::string& bytes) {
  auto finding = decode<Finding<T>>(std::as_bytes(std::span(bytes)));
  if (!finding) return finding.error();
  if (!finding->found) return fail(static_cast<Errc>(finding->code), finding->failure);
  return std::move(finding->value);
}

/// Collective: agent 0's result; that of the others counts for nothing.
template <class T>
Result<T> share(AgentWorld& world, const Result<T>& result, Deadline deadline) {
  auto bytes = world.broadcast(world.rank() == 0 ? pack(result) : std::string(), deadline);
  if (!bytes) return bytes.error();
  return unpack<T>(*bytes);
}

/// Collective: everybody's result, in the agents' order, or the first failure.
template <class T>
Result<std::vector<T>> gather(AgentWorld& world, const Result<T>& result, Deadline deadline) {
  auto all = world.all_gather(pack(result), deadline);
  if (!all) return all.error();
  std::vector<T> values;
  for (const std::string& bytes : *all) {
    auto value = unpack<T>(bytes);
    if (!value) return value.error();
    values.push_back(std::move(*value));
  }
  return values;
}

}  // namespace tutti::launch
