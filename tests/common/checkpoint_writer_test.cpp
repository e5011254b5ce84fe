// SPDX-License-Identifier: Apache-2.0
#include "common/checkpoint_writer.h"

#include <gmock/gmock.h>

#include <array>
#include <cerrno>

#include "common/metrics.h"
#include "tests/support/memory_file_system.h"

namespace tutti {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::HookedFileSystem;
using testing::MemoryFileSystem;
using testing::Operation;

/// Lets the writer go on when the test says so.
class Gate {
 public:
  void pass() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return open_; });
  }
  void open() {
    {
      const std::lock_guard lock(mutex_);
      open_ = true;
    }
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
};

class Writing : public ::testing::Test {
 protected:
  CheckpointOrder order(std::uint64_t step, int keep = 2) const {
    return {"checkpoints", {step, {{"bytes", DType::kUInt8, {3}, std::as_bytes(std::span(bytes_))}}, {}}, keep, 0};
  }
  static constexpr Duration kPatience = 30s;

  const std::array<char, 3> bytes_ = {'a', 'b', 'c'};
  MemoryFileSystem memory_;
  const SteadyClock clock_;
  MetricsCounter metrics_;
};

TEST_F(Writing, GoesOnInTheBackgroundUntilItIsOnTheDisk) {
  Gate gate;
  HookedFileSystem files(memory_, [&](Operation, const std::string&) -> Result<> {
    gate.pass();
    return {};
  });
  CheckpointWriter writer(files, clock_, metrics_, Logger::none());
  EXPECT_TRUE(writer.is_idle());
  writer.start(order(1));
  EXPECT_FALSE(writer.is_idle(1ms)) << "it waits at the gate";
  EXPECT_EQ(writer.progress(), 0u);
  gate.open();
  EXPECT_TRUE(writer.is_idle(kPatience));
  EXPECT_GT(writer.progress(), 0u);
  EXPECT_EQ(writer.written(), 1u);
  EXPECT_EQ(metrics_.snapshot().checkpoints, 1u);
  EXPECT_THAT(memory_.list("checkpoints").value(), ElementsAre("step-000000000001"));
}

TEST_F(Writing, PreparesInTheBackgroundBeforeItWrites) {
  Gate gate;
  int prepared = 0;
  CheckpointWriter writer(memory_, clock_, metrics_, Logger::none());
  writer.prepare([&] {
    gate.pass();
    ++prepared;
  });
  EXPECT_FALSE(writer.is_idle(1ms)) << "it waits at the gate";
  gate.open();
  ASSERT_TRUE(writer.is_idle(kPatience));
  writer.start(order(1));
  ASSERT_TRUE(writer.is_idle(kPatience));
  EXPECT_EQ(prepared, 1);
  EXPECT_EQ(writer.written(), 1u);
}

TEST_F(Writing, KeepsTheNewestOfItsCheckpoints) {
  CheckpointWriter writer(memory_, clock_, metrics_, Logger::none());
  for (const std::uint64_t step : {1, 2, 3, 4}) {
    writer.start(order(step));
    ASSERT_TRUE(writer.is_idle(kPatience));
  }
  EXPECT_THAT(memory_.list("checkpoints").value(), ElementsAre("step-000000000003", "step-000000000004"));
  writer.start(order(5, /*keep=*/0));
  ASSERT_TRUE(writer.is_idle(kPatience));
  EXPECT_EQ(memory_.list("checkpoints").value().size(), 3u) << "0 keeps all";
}

TEST_F(Writing, AFailureIsCountedAndForgottenOnceTheNextOneIsWritten) {
  bool full = false;
  HookedFileSystem files(memory_, [&](Operation operation, const std::string& path) -> Result<> {
    return full && operation == Operation::kWrite ? Result<>(fail_errno("writing " + path, ENOSPC)) : Result<>();
  });
  CheckpointWriter writer(files, clock_, metrics_, Logger::none());
  writer.start(order(1));
  ASSERT_TRUE(writer.is_idle(kPatience));
  full = true;
  writer.start(order(2));
  ASSERT_TRUE(writer.is_idle(kPatience));
  const auto failed = writer.take_failure();
  ASSERT_FALSE(failed);
  EXPECT_THAT(failed.error().text(), HasSubstr("No space left"));
  EXPECT_TRUE(writer.take_failure()) << "it is told once";
  EXPECT_EQ(metrics_.snapshot().checkpoints_failed, 1u);
  EXPECT_THAT(memory_.list("checkpoints").value(), ElementsAre("step-000000000001"));

  writer.start(order(3));
  ASSERT_TRUE(writer.is_idle(kPatience));
  full = false;
  writer.start(order(4));
  ASSERT_TRUE(writer.is_idle(kPatience));
  EXPECT_TRUE(writer.take_failure()) << "the last one was written";
  EXPECT_EQ(writer.failed(), 2u);
  EXPECT_EQ(writer.written(), 2u);
}

TEST_F(Writing, IsFinishedWhenTheWriterGoes) {
  {
    CheckpointWriter writer(memory_, clock_, metrics_, Logger::none());
    writer.start(order(1));
  }
  EXPECT_TRUE(verify_checkpoint(memory_, "checkpoints/step-000000000001"));
}

}  // namespace
}  // namespace tutti
