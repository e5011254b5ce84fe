// SPDX-License-Identifier: Apache-2.0
// A shard that dies in the middle of a sum in its host's buckets, after every single thing that it does to memory: what
// it leaves is of each block the input or the result, the journal says which, and the next shard makes the rest.
#include "ps/chunk_sum.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <memory>
#include <span>

#include "ps/chunk_set.h"

namespace tutti::ps {
namespace {

constexpr int kSummingRanks = 3;
constexpr std::size_t kElements = 5 * 512 - 100;  // five blocks, of which the last is shorter
constexpr std::size_t kBytes = kElements * sizeof(float);
constexpr Round kRound{7, 1};
const ByteRanges kWhole{{0, kBytes}};
constexpr ChunkJournal::Layout kLayout{kSummingRanks * kBytes, 1, 1};

/// Ends the process after so many passes.
class Death final : public CopyMeter {
 public:
  explicit Death(int after) : left_(after) {}
  void count(BytePass, const std::byte*, std::size_t) override {
    if (--left_ < 0) ::_exit(1);
  }

 private:
  int left_;
};

class ShardThatDies : public testing::Test {
 protected:
  void SetUp() override {
    for (int rank = 0; rank < kSummingRanks; ++rank) write_input(rank);
  }

  std::span<float> bucket(int rank) {
    return {reinterpret_cast<float*>(segment_->data().data()) + static_cast<std::size_t>(rank) * kElements, kElements};
  }
  std::byte* place(int rank) { return reinterpret_cast<std::byte*>(bucket(rank).data()); }
  static float input(int rank, std::size_t i) { return static_cast<float>(i % 1000) * 0.37f + 1.7f * float(rank + 1); }
  static float result(std::size_t i) { return (input(0, i) + input(1, i) + input(2, i)) / 3.0f; }
  void write_input(int rank) {
    for (std::size_t i = 0; i < kElements; ++i) bucket(rank)[i] = input(rank, i);
  }

  /// What a shard of this generation does when every rank has pushed; `known` is what each rank names.
  void reduce(std::uint32_t generation, const std::array<ByteRanges, kSummingRanks>& known, SumTools tools) {
    ChunkSet set;
    for (int rank = 0; rank < kSummingRanks; ++rank) {
      std::shared_ptr<std::byte> shared(segment_, place(rank));
      set.add(rank, kRound, {Buffer(), std::move(shared), false, known[static_cast<std::size_t>(rank)]}, kSummingRanks);
    }
    SumJournal journal{journal_, 0, generation};
    set.reduce(chunk_, Buffer(), tools, journal);
  }
  /// Whether it came to its end before.
  bool die_after(int passes, std::uint32_t generation, const std::array<ByteRanges, kSummingRanks>& known) {
    const pid_t child = ::fork();
    if (child == 0) {
      const auto of_parent = segment_;  // not inherited: to unmap it would unmap what lies in its place now
      segment_ = std::make_shared<Segment>(Segment::attach(::dup(segment_->fd())).value());
      journal_ = ChunkJournal(segment_, kLayout);
      Death death(passes);
      reduce(generation, known, {nullptr, &death});
      ::_exit(0);
    }
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status));
    return WEXITSTATUS(status) == 0;
  }
  /// Looked up by the rank itself, as it is when it connects in the next generation; `known` is what it knew of.
  ByteRanges look_up(int rank, std::uint32_t generation, ByteRanges known = {}) {
    for (const ByteRange& more : journal_.recover(0, chunk_, stamp_of(generation, kRound), place(rank)))
      add(known, more);
    for (std::size_t i = 0; i < kElements; ++i) {
      const bool is_result = contains(known, i * sizeof(float));
      const float expected = is_result ? result(i) : input(rank, i);
      if (bucket(rank)[i] == expected) continue;
      ADD_FAILURE() << "rank " << rank << ", element " << i << " is neither of the two";
      break;
    }
    return known;
  }
  void expect_results() {
    for (int rank = 0; rank < kSummingRanks; ++rank) {
      for (std::size_t i = 0; i < kElements; ++i) ASSERT_EQ(bucket(rank)[i], result(i)) << rank << ", element " << i;
    }
  }

  std::shared_ptr<Segment> segment_ = std::make_shared<Segment>(
      Segment::create({1, 0, kLayout.blocks(), kLayout.begin + kLayout.data_bytes()}, 1).value());
  ChunkJournal journal_{segment_, kLayout};
  const Chunk chunk_{0, 0, 0, kBytes, DType::kFloat32, Reduction::kAverage, 0};
};

TEST_F(ShardThatDies, LeavesTheInputOrTheResultOfEachBlock) {
  bool is_done = false;
  int deaths = 0;
  for (; !is_done; ++deaths) {
    SetUp();
    is_done = die_after(deaths, 1, {});
    std::array<ByteRanges, kSummingRanks> found;
    for (int rank = 0; rank < kSummingRanks; ++rank) found[static_cast<std::size_t>(rank)] = look_up(rank, 1);
    EXPECT_EQ(found[1], found[0]);
    EXPECT_EQ(found[2], found[0]);
    EXPECT_EQ(found[0] == kWhole, is_done || deaths >= 5 * 10 - 6);
    reduce(2, found, {});
    expect_results();
  }
  // Of each block: read from each rank, written aside; read and written for each rank.
  EXPECT_EQ(deaths, 5 * (kSummingRanks + 1 + 2 * kSummingRanks) + 1);
}

TEST_F(ShardThatDies, IsReplacedTogetherWithARank) {
  ASSERT_FALSE(die_after(2 * 10 + 7, 1, {}));
  std::array<ByteRanges, kSummingRanks> found{look_up(0, 1), {}, look_up(2, 1)};
  EXPECT_EQ(found[0], (ByteRanges{{0, 3 * 2048}})) << "the third block lay in the scratch";
  write_input(1);  // the newcomer's
  reduce(2, found, {});
  expect_results();
}

TEST_F(ShardThatDies, IsFollowedByOneThatDiesAsWell) {
  for (int deaths = 0;; ++deaths) {
    SetUp();
    ASSERT_FALSE(die_after(3 * 10 + 5, 1, {}));
    std::array<ByteRanges, kSummingRanks> found{look_up(0, 1), look_up(1, 1), {}};
    write_input(2);
    const bool is_done = die_after(deaths, 2, found);
    for (int rank = 0; rank < kSummingRanks; ++rank) {
      auto& known = found[static_cast<std::size_t>(rank)];
      known = look_up(rank, 2, known);
    }
    reduce(3, found, {});
    expect_results();
    if (is_done) break;
  }
}

TEST_F(ShardThatDies, SaysNothingAboutAnotherRoundOrGeneration) {
  ASSERT_TRUE(die_after(1000, 1, {}));
  EXPECT_EQ(journal_.recover(0, chunk_, stamp_of(1, kRound), place(0)), kWhole);
  EXPECT_TRUE(journal_.recover(0, chunk_, stamp_of(2, kRound), place(0)).empty());
  EXPECT_TRUE(journal_.recover(0, chunk_, stamp_of(1, {7, 2}), place(0)).empty());
  EXPECT_TRUE(journal_.recover(0, chunk_, stamp_of(1, {8, 1}), place(0)).empty());
}

TEST_F(ShardThatDies, SumsWithHelpersInTheirOwnScratches) {
  const std::size_t elements = 1 << 20;
  const ChunkJournal::Layout layout{0, 1, 1};
  const auto segment =
      std::make_shared<Segment>(Segment::create({1, 0, layout.blocks(), layout.data_bytes()}, 1).value());
  std::array<std::vector<float>, 2> inputs{std::vector<float>(elements), std::vector<float>(elements)};
  for (std::size_t i = 0; i < elements; ++i) inputs[0][i] = input(0, i), inputs[1][i] = input(1, i);
  const Chunk chunk{0, 0, 0, elements * sizeof(float), DType::kFloat32, Reduction::kSum, 0};
  ChunkSum chunk_sum{chunk, {}, {}};
  for (auto& of_rank : inputs) {
    chunk_sum.from.push_back(reinterpret_cast<std::byte*>(of_rank.data()));
    chunk_sum.into.push_back(reinterpret_cast<std::byte*>(of_rank.data()));
  }
  SumThreads threads(SumThreads::kHelpersMax);
  SumJournal journal{ChunkJournal(segment, layout), 0, 1};
  NotFiniteElements not_finite;
  sum(chunk_sum, {&threads, nullptr}, not_finite, journal, kRound);
  EXPECT_TRUE(not_finite.take().empty());
  for (std::size_t i = 0; i < elements; ++i) {
    ASSERT_EQ(inputs[0][i], input(0, i) + input(1, i));
    ASSERT_EQ(inputs[1][i], inputs[0][i]);
  }
  EXPECT_EQ(journal.journal->recover(0, chunk, stamp_of(1, kRound), nullptr), (ByteRanges{{0, chunk.bytes}}));
}

// A rank whose buckets lie elsewhere by now sends what it holds.
TEST_F(ShardThatDies, IsReplacedByOneThatSharesNothing) {
  ASSERT_FALSE(die_after(10 + 5, 1, {}));
  BufferPool pool(kBytes, kSummingRanks);
  ChunkSet set;
  for (int rank = 0; rank < kSummingRanks; ++rank) {
    Buffer received = pool.take();
    ByteRanges found = look_up(rank, 1);
    std::memcpy(received.get(), place(rank), kBytes);
    set.add(rank, kRound, {std::move(received), nullptr, false, std::move(found)}, kSummingRanks);
  }
  SumJournal none;
  const SharedBuffer sent = set.reduce(chunk_, Buffer(), {}, none).result;
  for (std::size_t i = 0; i < kElements; ++i) {
    float value = 0;
    std::memcpy(&value, sent.get() + i * sizeof value, sizeof value);
    ASSERT_EQ(value, result(i)) << i;
  }
}

}  // namespace
}  // namespace tutti::ps
