// SPDX-License-Identifier: Apache-2.0
#include "tests/chaos/push_killer.h"

#include <algorithm>
#include <csignal>
#include <memory>

namespace tutti::testing {

ChaosOptions through(const Proxy& proxy) {
  return {.exchange = "ps",
          .shards = 2,
          .configuration = {"transport=tcp", "chunk_bytes=" + std::to_string(kChunkBytes)},
          .environment = proxy.environment()};
}

Decision PushKiller::operator()(const Piece& piece) {
  if (!piece.to_server) return {};
  if (dead_.contains(piece.link.pid)) return {.pass = 0, .rest = Decision::Rest::kCut};
  if (!piece.is(FrameType::kPush)) return {};
  Blow* blow = due(piece);
  if (blow == nullptr) return {};
  const std::uint64_t offset = std::min(blow->offset, piece.message_bytes);
  if (piece.offset + piece.size < offset) return {};
  strike(*blow, piece.link.pid);
  return {.pass = static_cast<std::size_t>(offset - piece.offset), .rest = Decision::Rest::kCut};
}

std::vector<Strike> PushKiller::strikes() const {
  const std::lock_guard lock(mutex_);
  return strikes_;
}

Blow* PushKiller::due(const Piece& piece) {
  for (Blow& blow : blows_) {
    if (blow.has_struck || blow.step != piece.frame->step || blow.rank != piece.link.self.rank) continue;
    if (blow.pushes_before == 0) return &blow;
    if (piece.offset + piece.size == piece.message_bytes) --blow.pushes_before;
  }
  return nullptr;
}

void PushKiller::strike(Blow& blow, pid_t pid) {
  blow.has_struck = true;
  dead_.insert(pid);
  const std::lock_guard lock(mutex_);
  strikes_.push_back({blow.rank, static_cast<std::int64_t>(blow.step), monotonic_ns()});
  ::kill(pid, SIGKILL);
}

void expect_replaced(const std::vector<std::uint64_t>& offsets, std::mt19937& random) {
  std::vector<Blow> blows;
  for (const std::uint64_t offset : offsets) {
    blows.push_back({.step = 24 + 25 * blows.size(),
                     .rank = static_cast<int>(random() % 4),
                     .offset = offset,
                     .pushes_before = static_cast<int>(random() % 4)});
  }
  const TemporaryFolder folder;
  const auto killer = std::make_shared<PushKiller>(blows);
  Proxy proxy(folder.path(), [killer](const Piece& piece) { return (*killer)(piece); });
  ChaosRun run(through(proxy));
  run.expect_same_bits();
  for (const Strike& strike : killer->strikes()) run.note(strike);
  EXPECT_EQ(count(run.err(), "was killed by signal 9 (Killed)"), offsets.size()) << run.err();
  run.report("1", offsets.size());
}

}  // namespace tutti::testing
