// SPDX-License-Identifier: Apache-2.0
#include "common/checkpoint_writer.h"

#include <utility>

#include "common/assert.h"

namespace tutti {

CheckpointWriter::CheckpointWriter(FileSystem& files, const Clock& clock, EventSink& events, Logger log)
    : files_(files), clock_(clock), events_(events), log_(std::move(log)), thread_([this] { run(); }) {}

CheckpointWriter::~CheckpointWriter() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void CheckpointWriter::start(CheckpointOrder order) {
  {
    const std::lock_guard lock(mutex_);
    TUTTI_ASSERT(!order_ && !preparation_, "one checkpoint is written at a time");
    order_ = std::move(order);
  }
  changed_.notify_all();
}

void CheckpointWriter::prepare(std::function<void()> work) {
  {
    const std::lock_guard lock(mutex_);
    TUTTI_ASSERT(!order_ && !preparation_, "one thing is done at a time");
    preparation_ = std::move(work);
  }
  changed_.notify_all();
}

bool CheckpointWriter::is_idle(Duration at_most) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, at_most, [this] { return !order_ && !preparation_; });
}

Result<> CheckpointWriter::take_failure() {
  const std::lock_guard lock(mutex_);
  const auto failure = std::exchange(failure_, std::nullopt);
  return failure ? Result<>(*failure) : Result<>();
}

std::uint64_t CheckpointWriter::written() const {
  const std::lock_guard lock(mutex_);
  return written_;
}
std::uint64_t CheckpointWriter::failed() const {
  const std::lock_guard lock(mutex_);
  return failed_;
}

void CheckpointWriter::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return order_ || preparation_ || ending_; });
    if (!order_ && !preparation_) return;
    lock.unlock();
    if (preparation_) preparation_();  // nobody changes either while it is there
    if (order_) write(*order_);
    lock.lock();
    preparation_ = nullptr;
    order_.reset();
    changed_.notify_all();
  }
}

void CheckpointWriter::write(const CheckpointOrder& order) {
  const Result<> result = write_files(order);
  record(result ? EventKind::kCheckpointEnd : EventKind::kCheckpointFailed, order);
  if (!result) {
    log_.warning("the checkpoint of step {} could not be written, older ones are intact: {}", order.content.step,
                 result.error().text());
  }
  const std::lock_guard lock(mutex_);
  ++(result ? written_ : failed_);
  failure_ = result ? std::nullopt : std::optional(result.error());
}

Result<> CheckpointWriter::write_files(const CheckpointOrder& order) {
  TUTTI_TRY(save_checkpoint(files_, order.directory, order.content, [this](std::uint64_t) { ++progress_; }));
  if (order.keep == 0) return {};
  // The checkpoint is safe: an older one that cannot be removed is no failure of it.
  if (auto kept = keep_newest(files_, order.directory, order.content.step, order.keep); !kept)
    log_.warning("old checkpoints stay: {}", kept.error().text());
  return {};
}

void CheckpointWriter::record(EventKind kind, const CheckpointOrder& order) noexcept {
  std::uint64_t bytes = 0;
  for (const NamedBytes& tensor : order.content.tensors) bytes += tensor.bytes.size();
  events_.record({clock_.now(), kind, order.rank, 0, order.content.step, 0, 0, bytes});
}

}  // namespace tutti
