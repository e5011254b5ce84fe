// SPDX-License-Identifier: Apache-2.0
#include "worker/checkpoints.h"

#include <fmt/format.h>

#include <chrono>

#include "worker/data_parallel_impl.h"

namespace tutti::worker {
namespace {

using namespace std::chrono_literals;

constexpr Duration kStallMax = 500ms;
// What rank 0 tells the others while it writes; anything else is why it could not.
constexpr const char* kWriting = "writing";
constexpr const char* kDone = "done";

}  // namespace

Checkpoints::Checkpoints(SessionImpl& session) : session_(session) {
  const RunConfig& config = session.config();
  if (config.checkpoint_every == 0 || !config.checkpoint_dir.empty()) return;
  session.raise(fail(
      Errc::kConfig,
      fmt::format("checkpoint_every is {}, but checkpoint_dir is empty: expected a folder", config.checkpoint_every)));
}

Checkpoints::~Checkpoints() = default;

void Checkpoints::attend(DataParallelImpl& model) {
  if (asked_) {
    throw UsageError(
        "a DataParallel is constructed after the run went on from checkpoint_dir: construct all of them "
        "before batches() or resume()");
  }
  models_.push_back(&model);
  model.set_checkpoint_folder(session_.config().checkpoint_dir);
}

void Checkpoints::forget(DataParallelImpl& model) noexcept {
  std::erase(models_, &model);
}

bool Checkpoints::is_automatic() const {
  return session_.config().checkpoint_every > 0;
}

bool Checkpoints::is_rank_0() const {
  return session_.identity().rank == 0;
}

CheckpointWriter& Checkpoints::writer() {
  if (!writer_) writer_.emplace(disk_, session_.clock(), session_.events(), session_.logger());
  return *writer_;
}

bool Checkpoints::resume(DataParallelImpl& iterating) {
  const std::string& folder = session_.config().checkpoint_dir;
  if (folder.empty() || std::exchange(asked_, true)) return resumed_;
  return resumed_ = load_newest(models_, iterating, folder);
}

void Checkpoints::expect_resumed() const {
  if (session_.config().checkpoint_dir.empty() || asked_) return;
  throw UsageError("checkpoint_dir is configured: call DataParallel::resume() before the loop over epochs begins");
}

void Checkpoints::after_step(DataParallelImpl& iterating) {
  const bool is_asked_for = session_.take_wish_to_save() && !session_.config().checkpoint_dir.empty();
  if (!is_automatic() && !is_asked_for) return;
  const auto step = static_cast<std::uint64_t>(iterating.position().step);
  const bool is_due = is_automatic() && step % session_.config().checkpoint_every == 0;
  if (!is_due && !is_asked_for) return prepare_memory();
  if (!iterating.may_save() || !is_rank_0()) return;
  const auto record = [&](EventKind kind) {
    session_.events().record({session_.clock().now(), kind, session_.identity().rank, 0, step, 0, 0, 0});
  };
  record(EventKind::kCheckpointBegin);
  if (writer().is_idle(kStallMax)) {
    take(iterating);
  } else {
    record(EventKind::kCheckpointFailed);
    session_.logger().warning(
        "the checkpoint of step {} is left out: the one before is still being written; save less often "
        "(checkpoint_every "
        "is {}), or to a faster disk",
        step, session_.config().checkpoint_every);
  }
  record(EventKind::kCheckpointTaken);
}

// After the first step, when optimizers have their state: the writer has nothing else to do until the first checkpoint.
void Checkpoints::prepare_memory() {
  if (!is_rank_0() || std::exchange(has_memory_, true) || !writer().is_idle()) return;
  writer().prepare([this, bytes = snapshot_bytes(models_, session_)] { memory_.prepare(bytes); });
}

void Checkpoints::stop(DataParallelImpl& iterating) {
  if (!is_automatic() || !iterating.may_save()) return;
  session_.check(await_writer());
  if (is_rank_0()) take(iterating);
}

void Checkpoints::take(DataParallelImpl& iterating) {
  has_memory_ = true;
  const RunConfig& config = session_.config();
  writer().start({config.checkpoint_dir, take_snapshot(models_, iterating, memory_), config.checkpoint_keep,
                  session_.identity().rank});
}

void Checkpoints::save(DataParallelImpl& model, const std::string& folder) {
  model.set_checkpoint_folder(folder);
  if (!model.may_save()) return;
  if (is_automatic()) session_.check(await_writer());
  if (is_rank_0()) {
    DataParallelImpl* const models[] = {&model};
    writer().start({folder, take_snapshot(models, model, memory_), /*keep=*/0, session_.identity().rank});
  }
  Result<> saved = await_writer();
  if (is_rank_0() && saved) saved = writer().take_failure();
  std::string failure = saved ? "" : saved.error().text();
  if (session_.member() != nullptr)
    failure = session_.check(session_.member()->broadcast(std::move(failure), 0, session_.deadline()));
  if (!failure.empty()) session_.raise(fail(Errc::kIo, "rank 0 could not save: " + failure));
}

bool Checkpoints::load(DataParallelImpl& model, const std::string& folder) {
  model.set_checkpoint_folder(folder);
  DataParallelImpl* const models[] = {&model};
  return load_newest(models, model, folder);
}

bool Checkpoints::load_newest(Models models, DataParallelImpl& iterating, const std::string& folder) {
  const NewestCheckpoint newest = session_.check(load_newest_checkpoint(disk_, folder));
  const auto& checkpoint = newest.checkpoint;
  if (is_rank_0()) {
    for (const Failure& refused : newest.refused) session_.logger().warning("passed over: {}", refused.text());
  }
  agree_on(checkpoint ? fmt::format("step {} of SHA-256 {}", checkpoint->step, checkpoint->sha256) : "none");
  if (!checkpoint) return false;
  restore(models, iterating, *checkpoint);
  if (is_rank_0()) {
    session_.logger().info("goes on from {}: step {}, epoch {}", checkpoint->folder, checkpoint->step,
                           iterating.position().epoch);
  }
  return true;
}

void Checkpoints::agree_on(const std::string& found) {
  if (session_.member() == nullptr) return;
  const auto all = session_.check(session_.member()->all_gather(found, session_.deadline()));
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    if (all[rank] == all[0]) continue;
    session_.raise(fail(Errc::kMismatch,
                        fmt::format("rank {} found checkpoint \"{}\" and rank 0 \"{}\": the folder must be the same on "
                                    "every host",
                                    rank, all[rank], all[0])));
  }
}

Result<> Checkpoints::await_writer() {
  const Duration patience = from_seconds(session_.config().timeout_s);
  std::uint64_t progress = 0;
  TimePoint moved = session_.clock().now();
  for (;;) {
    std::string word = kDone;
    if (is_rank_0() && !writer().is_idle(patience / 3)) {
      const TimePoint now = session_.clock().now();
      if (std::exchange(progress, writer().progress()) != writer().progress()) moved = now;
      word = now - moved < patience ? kWriting : "the disk has taken nothing for timeout_s";
    }
    if (session_.member() != nullptr) {
      auto told = session_.member()->broadcast(std::move(word), 0, session_.deadline());
      TUTTI_TRY(told);
      word = std::move(*told);
    }
    if (word == kDone) return {};
    if (word != kWriting) return fail(Errc::kIo, "rank 0 could not save: " + word);
  }
}

Result<> Checkpoints::finish() {
  if (session_.config().checkpoint_dir.empty()) return {};
  TUTTI_TRY(await_writer());
  if (!writer_) return {};
  if (auto failed = writer_->take_failure(); !failed)
    return std::move(failed).error().wrap("the last checkpoint could not be written");
  return {};
}

}  // namespace tutti::worker
