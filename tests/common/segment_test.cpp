// SPDX-License-Identifier: Apache-2.0
#include "common/segment.h"

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <thread>

namespace tutti {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

constexpr SegmentShape kShape = {.ranks = 2, .buckets = 3, .blocks = 5, .data_bytes = 10'000};

Deadline soon() {
  return std::chrono::steady_clock::now() + 20s;
}
Deadline passed() {
  return std::chrono::steady_clock::now() - 1ms;
}

Segment created(const SegmentShape& shape = kShape) {
  return Segment::create(shape, 1).value();
}
Segment attached_to(const Segment& other) {
  return Segment::attach(::dup(other.fd())).value();
}

TEST(Segment, BeginsWithZeros) {
  const Segment segment = created();
  EXPECT_EQ(segment.generation(), 1u);
  EXPECT_EQ(segment.abort_reason(), 0);
  EXPECT_EQ(segment.ready(1, 2), 0u);
  EXPECT_EQ(segment.done(4), 0u);
  EXPECT_EQ(segment.data().size(), 10'000u);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(segment.data().data()) % 4096, 0u);
}

TEST(Segment, ShowsMarksAndDataToWhoAttaches) {
  Segment one = created();
  const Segment two = attached_to(one);
  EXPECT_EQ(two.shape(), kShape);
  one.set_ready(1, 2, 7);
  one.set_done(4, 6);
  one.data().back() = std::byte{42};
  EXPECT_EQ(two.ready(1, 2), 7u);
  EXPECT_EQ(two.ready(0, 2), 0u);
  EXPECT_EQ(two.ready(1, 1), 0u);
  EXPECT_EQ(two.done(4), 6u);
  EXPECT_EQ(two.data().back(), std::byte{42});
}

TEST(Segment, KeepsItsMarksApart) {
  Segment segment = created();
  std::uint64_t step = 0;
  for (std::uint32_t rank = 0; rank < 2; ++rank) {
    for (std::uint32_t bucket = 0; bucket < 3; ++bucket) segment.set_ready(rank, bucket, ++step);
  }
  for (std::uint64_t block = 0; block < 5; ++block) segment.set_done(block, ++step);
  std::uint64_t expected = 0;
  for (std::uint32_t rank = 0; rank < 2; ++rank) {
    for (std::uint32_t bucket = 0; bucket < 3; ++bucket) EXPECT_EQ(segment.ready(rank, bucket), ++expected);
  }
  for (std::uint64_t block = 0; block < 5; ++block) EXPECT_EQ(segment.done(block), ++expected);
  for (const std::byte byte : segment.data()) ASSERT_EQ(byte, std::byte{0});
}

TEST(Segment, WaitsForAMarkOfAnotherProcess) {
  Segment segment = created();
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto mine = Segment::attach(segment.fd());
    const bool called = mine && mine->wait([&] { return mine->ready(0, 1) == 5; }, soon()) == SegmentWait::kHolds;
    if (called) mine->set_done(3, 5);
    if (called) mine->wake_all();
    ::_exit(called ? 0 : 1);
  }
  segment.set_ready(0, 1, 5);
  EXPECT_EQ(segment.wait([&] { return segment.done(3) == 5; }, soon()), SegmentWait::kHolds);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(Segment, LosesNoMarkBetweenALookAndTheSleep) {
  Segment one = created(), two = attached_to(one);
  constexpr std::uint64_t kRounds = 20'000;
  std::jthread other([&] {
    for (std::uint64_t round = 1; round <= kRounds; ++round) {
      if (two.wait([&] { return two.ready(0, 0) == round; }, soon()) != SegmentWait::kHolds) return;
      two.set_ready(1, 0, round);
    }
  });
  for (std::uint64_t round = 1; round <= kRounds; ++round) {
    one.set_ready(0, 0, round);
    ASSERT_EQ(one.wait([&] { return one.ready(1, 0) == round; }, soon()), SegmentWait::kHolds) << round;
  }
}

TEST(Segment, GivesEachBlockOfARoundToOneClaimant) {
  Segment one = created(), two = attached_to(one);
  constexpr std::uint32_t kBlocks = 2000;
  for (std::uint64_t round = 1; round <= 3; ++round) {
    std::vector<int> claims(kBlocks, 0), others(kBlocks, 0);
    const auto claim_all = [&](Segment& segment, std::vector<int>& mine) {
      while (const auto block = segment.claim(1, round, kBlocks)) {
        ++mine[*block];
        segment.finish(1);
      }
    };
    std::thread other([&] { claim_all(two, others); });
    claim_all(one, claims);
    other.join();
    for (std::uint32_t block = 0; block < kBlocks; ++block) ASSERT_EQ(claims[block] + others[block], 1) << block;
    EXPECT_EQ(one.finished(1), round * kBlocks);
    EXPECT_EQ(one.claim(1, round - 1, kBlocks), std::nullopt);
  }
  EXPECT_EQ(one.claim(0, 1, 1), 0u);
  EXPECT_EQ(one.finished(0), 0u);
}

TEST(Segment, GivesUpAtTheDeadline) {
  const Segment segment = created();
  EXPECT_EQ(segment.wait([] { return false; }, passed()), SegmentWait::kTimeout);
  EXPECT_EQ(segment.wait([] { return false; }, std::chrono::steady_clock::now() + 2ms), SegmentWait::kTimeout);
  EXPECT_EQ(segment.wait([] { return true; }, passed()), SegmentWait::kHolds);
}

TEST(Segment, EndsEveryWaitWithTheFirstReason) {
  Segment one = created(), two = attached_to(one);
  SegmentWait ended = SegmentWait::kHolds;
  std::jthread sleeper([&] { ended = one.wait([] { return false; }, soon()); });
  two.set_abort(9);
  two.set_abort(10);
  sleeper.join();
  EXPECT_EQ(ended, SegmentWait::kAborted);
  EXPECT_EQ(one.abort_reason(), 9);
  EXPECT_EQ(one.wait([] { return true; }, soon()), SegmentWait::kAborted);
}

TEST(Segment, ForgetsTheReasonWithANewGeneration) {
  Segment segment = created();
  segment.set_done(0, 3);
  segment.set_abort(9);
  segment.begin_generation(2);
  EXPECT_EQ(segment.generation(), 2u);
  EXPECT_EQ(segment.abort_reason(), 0);
  EXPECT_EQ(segment.done(0), 3u);
}

std::string refusal_after(std::size_t at, std::uint32_t value, const SegmentShape& shape = kShape) {
  auto memory = SharedMemory::attach(::dup(created(shape).fd()), 0).value();
  std::memcpy(memory.bytes().data() + at, &value, sizeof value);
  const auto segment = Segment::attach(::dup(memory.fd()));
  if (segment) return "it was not refused";
  EXPECT_EQ(segment.error().code, Errc::kBadData);
  return segment.error().text();
}

TEST(Segment, RefusesAHeaderThatDoesNotFitTheFile) {
  constexpr std::size_t kMagicAt = 0, kVersionAt = 8, kRanksAt = 16, kBucketsAt = 20, kBlocksAt = 24, kDataBytesAt = 32;
  EXPECT_THAT(refusal_after(kMagicAt, 1), HasSubstr("no segment of tutti's"));
  EXPECT_THAT(refusal_after(kVersionAt, 1), HasSubstr("version 1, expected 2"));
  EXPECT_THAT(refusal_after(kRanksAt, 0), HasSubstr("beyond all bounds"));
  EXPECT_THAT(refusal_after(kRanksAt, 4000), HasSubstr("for its sizes"));
  EXPECT_THAT(refusal_after(kBucketsAt, ~0u), HasSubstr("beyond all bounds"));
  EXPECT_THAT(refusal_after(kBlocksAt + 4, ~0u), HasSubstr("beyond all bounds"));
  EXPECT_THAT(refusal_after(kDataBytesAt, 10'001), HasSubstr("for its sizes"));
  EXPECT_THAT(refusal_after(kDataBytesAt + 4, ~0u), HasSubstr("beyond all bounds"));
}

TEST(Segment, RefusesMemoryOfAnotherKind) {
  const auto small = SharedMemory::create("test", 16).value();
  EXPECT_THAT(Segment::attach(::dup(small.fd())).error().text(), HasSubstr("holds 16 bytes"));
  const auto other = SharedMemory::create("test", 4096).value();
  EXPECT_THAT(Segment::attach(::dup(other.fd())).error().text(), HasSubstr("no segment of tutti's"));
}

TEST(Segment, RefusesAShapeBeyondAllBounds) {
  SegmentShape shape = kShape;
  shape.data_bytes = ~0ull;
  EXPECT_EQ(Segment::create(shape, 1).error().code, Errc::kUsage);
}

TEST(SharedMemory, CannotShrinkOrGrow) {
  const auto memory = SharedMemory::create("test", 4096).value();
  EXPECT_NE(::ftruncate(memory.fd(), 0), 0);
  EXPECT_NE(::ftruncate(memory.fd(), 8192), 0);
}

std::size_t bytes_in_use(const SharedMemory& memory) {
  struct stat status {};
  EXPECT_EQ(::fstat(memory.fd(), &status), 0);
  return static_cast<std::size_t>(status.st_blocks) * 512;
}

TEST(SharedMemory, GivesWholePagesBackAndReservesThemAgain) {
  auto memory = SharedMemory::create("test", 64 * 4096).value();
  std::memset(memory.bytes().data(), 7, memory.bytes().size());
  ASSERT_EQ(bytes_in_use(memory), 64 * 4096u);
  memory.give_back(4096 + 100, 10 * 4096);
  EXPECT_EQ(bytes_in_use(memory), 55 * 4096u);
  EXPECT_EQ(memory.bytes()[2 * 4096 - 1], std::byte{7}) << "a page that is used in part stays";
  EXPECT_EQ(memory.bytes()[11 * 4096], std::byte{7});
  ASSERT_TRUE(memory.reserve(4096 + 100, 10 * 4096));
  EXPECT_EQ(bytes_in_use(memory), 64 * 4096u);
  EXPECT_EQ(memory.bytes()[2 * 4096], std::byte{0});
  memory.give_back(100, 4096);  // no whole page
  EXPECT_EQ(bytes_in_use(memory), 64 * 4096u);
}

TEST(SharedMemory, RefusesAFileThatCouldShrink) {
  const auto memory = SharedMemory::attach(::memfd_create("test", MFD_ALLOW_SEALING), 0);
  ASSERT_FALSE(memory);
  EXPECT_THAT(memory.error().text(), HasSubstr("not sealed"));
}

// A limit on file sizes stands in for a machine without memory: the reservation is what fails, at once and as a value.
TEST(SharedMemory, TellsWhenThereIsNoRoom) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1 << 20, 1 << 20};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) ::_exit(2);
    const auto memory = SharedMemory::create("test", 2 << 20);
    ::_exit(!memory && memory.error().code == Errc::kIo ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace tutti
