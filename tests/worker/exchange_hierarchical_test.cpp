// SPDX-License-Identifier: Apache-2.0
#include "worker/exchange_hierarchical.h"

#include <gmock/gmock.h>

#include <atomic>
#include <functional>
#include <latch>
#include <semaphore>
#include <set>
#include <thread>

#include "tests/ps/cluster.h"
#include "tests/worker/fake_exchange.h"
#include "tests/worker/host_ranks.h"
#include "worker/exchange_ps.h"

namespace tutti::worker {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// Hosts whose leaders meet at two shards.
class World {
 public:
  explicit World(const Sizes& sizes) : cluster_(static_cast<int>(sizes.size()), /*shards=*/2) {
    int size = 0;
    for (const std::uint32_t ranks : sizes) size += static_cast<int>(ranks);
    for (std::size_t h = 0; h < sizes.size(); ++h) {
      hosts_.push_back(std::make_unique<Host>(sizes[h], "host" + std::to_string(h)));
      leaders_.push_back(std::make_unique<ps::ClusterRank>(cluster_, static_cast<int>(h)));
      for (std::uint32_t r = 0; r < sizes[h]; ++r) {
        ranks_.push_back(hosts_[h]->rank(r, size, r == 0 ? make_ps_exchange(leaders_[h]->client()) : nullptr));
      }
    }
  }
  ~World() { ranks_.clear(); }

  HierarchicalExchange& operator[](std::size_t rank) { return *ranks_[rank]; }
  std::size_t size() const { return ranks_.size(); }
  Deadline in(Duration time) const { return hosts_.front()->in(time); }
  /// Runs `body` as every rank at once.
  void run(const std::function<void(std::size_t rank, HierarchicalExchange& exchange)>& body) {
    std::vector<std::jthread> threads;
    for (std::size_t rank = 0; rank < ranks_.size(); ++rank) {
      threads.emplace_back([this, &body, rank] { body(rank, *ranks_[rank]); });
    }
  }

 private:
  ps::Cluster cluster_;
  std::vector<std::unique_ptr<Host>> hosts_;
  std::vector<std::unique_ptr<ps::ClusterRank>> leaders_;
  std::vector<std::unique_ptr<HierarchicalExchange>> ranks_;
};

using HierarchicalSetting = std::tuple<Sizes, bool>;  // placed
class HierarchicalExchangeTest : public ::testing::TestWithParam<HierarchicalSetting> {};

TEST_P(HierarchicalExchangeTest, SumsWithinHostsThenBetweenThemOverManyRounds) {
  const auto& [sizes, is_placed] = GetParam();
  World world(sizes);
  const bool placed = is_placed;
  const auto buckets = many_buckets();
  constexpr std::uint64_t kRounds = 4;
  std::vector<std::vector<Bytes>> results(kRounds);
  for (std::uint64_t round = 0; round < kRounds; ++round) {
    for (const BucketSpec& bucket : buckets) results[round].push_back(expected(bucket, sizes, round));
  }
  world.run([&](std::size_t rank, HierarchicalExchange& exchange) {
    const Memory memory = open(exchange, buckets, world.in(20s), 0, placed);
    std::multiset<std::uint32_t> all, told;
    for (std::uint32_t b = 0; b < buckets.size(); ++b) all.insert(b);
    exchange.on_bucket_done([&](std::uint32_t bucket) { told.insert(bucket); });
    for (std::uint64_t round = 0; round < kRounds; ++round) {
      told.clear();
      for (std::uint32_t b = 0; b < buckets.size(); ++b) {
        fill(memory, b, rank, round);
        ASSERT_TRUE(exchange.start({round, 0}, b));
        ASSERT_TRUE(exchange.poll());
      }
      // Waited for one by one in odd rounds, in another order than they were started in.
      for (std::uint32_t b = round % 2 == 1 ? static_cast<std::uint32_t>(buckets.size()) : 0; b-- > 0;) {
        ASSERT_TRUE(exchange.wait(b, world.in(20s)));
        EXPECT_TRUE(holds(memory, b, results[round][b])) << "round " << round << ", bucket " << b << ", rank " << rank;
      }
      ASSERT_TRUE(exchange.finish(world.in(20s)));
      EXPECT_EQ(told, all) << "each bucket is told to be done once a round, when both stages are";
      for (std::uint32_t b = 0; b < buckets.size(); ++b) {
        EXPECT_TRUE(holds(memory, b, results[round][b])) << "round " << round << ", bucket " << b << ", rank " << rank;
      }
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Hosts, HierarchicalExchangeTest,
                         ::testing::Combine(::testing::Values(Sizes{2, 2}, Sizes{2, 3}, Sizes{3, 1, 2}, Sizes{1, 1}),
                                            ::testing::Bool()),
                         [](const auto& info) {
                           std::string name = "Of";
                           for (const std::uint32_t size : std::get<0>(info.param)) name += std::to_string(size);
                           return name + (std::get<1>(info.param) ? "InPlace" : "Staged");
                         });

TEST(HierarchicalExchange, HasAnOrderOfItsOwn) {
  const BucketSpec bucket{DType::kFloat32, Reduction::kSum, 1000};
  EXPECT_NE(expected(bucket, {2, 2}, 0), expected(bucket, {4}, 0)) << "the numbers of these tests do not tell";
  Host host(1, "here");
  EXPECT_FALSE(host.rank(0, 1)->traits().rank_ordered);
  EXPECT_EQ(host.rank(0, 1)->traits().name, "shm+test");
}

TEST(HierarchicalExchange, AveragesByOneDivisionOfTheWholeSum) {
  World world({2, 3});
  world.run([&](std::size_t rank, HierarchicalExchange& exchange) {
    const Memory memory = open(exchange, {{DType::kFloat32, Reduction::kAverage, 1000}}, world.in(20s));
    for (int i = 0; i < 1000; ++i) memory.floats(0)[i] = static_cast<float>(i + static_cast<int>(rank));
    ASSERT_TRUE(exchange.start({0, 0}, 0));
    ASSERT_TRUE(exchange.finish(world.in(20s)));
    for (int i = 0; i < 1000; ++i) ASSERT_EQ(memory.floats(0)[i], static_cast<float>(5 * i + 10) / 5.0f) << i;
  });
}

TEST(HierarchicalExchange, ReopensWithAnotherPlan) {
  World world({2, 2});
  world.run([&](std::size_t rank, HierarchicalExchange& exchange) {
    Memory memory;
    for (std::uint32_t number = 0; number < 3; ++number) {
      memory = open(exchange, {{DType::kFloat32, Reduction::kSum, 1000 + number}}, world.in(20s), number);
      std::fill_n(memory.floats(0), 1000 + number, static_cast<float>(rank + 1));
      ASSERT_TRUE(exchange.start({number, 0}, 0));
      ASSERT_TRUE(exchange.finish(world.in(20s)));
      EXPECT_EQ(memory.floats(0)[999 + number], 10.0f);
    }
  });
}

/// Two ranks of one host, driven by the test's own thread; the leader's exchange between hosts has a made-up peer.
class OneHost {
 public:
  explicit OneHost(std::vector<BucketSpec> buckets) {
    auto between = std::make_unique<FakeExchange>();
    between_ = between.get();
    between_->has_memory = true;
    leader_ = host_.rank(0, 4, std::move(between));
    other_ = host_.rank(1, 4);
    leader_memory_ = open(*leader_, buckets, host_.in(20s));
    other_memory_ = open(*other_, std::move(buckets), host_.in(20s));
  }

  HierarchicalExchange& leader() { return *leader_; }
  HierarchicalExchange& other() { return *other_; }
  FakeExchange& between() { return *between_; }
  const Memory& leader_memory() const { return leader_memory_; }
  const Memory& other_memory() const { return other_memory_; }
  Deadline in(Duration time) const { return host_.in(time); }

 private:
  Host host_{2, "here"};
  FakeExchange* between_;
  std::unique_ptr<HierarchicalExchange> leader_, other_;
  Memory leader_memory_, other_memory_;
};

constexpr BucketSpec kFloats{DType::kFloat32, Reduction::kAverage, 1000};

TEST(HierarchicalExchange, WorksInTheHostsMemoryAndSumsInBothStages) {
  OneHost ranks({kFloats, {DType::kInt64, Reduction::kBroadcast, 3}});
  EXPECT_THAT(ranks.between().places, IsEmpty());
  for (std::size_t b = 0; b < 2; ++b)
    EXPECT_NE(ranks.between().plan().memory[b], ranks.leader_memory().plan.memory[b]) << "the input stays";
  EXPECT_EQ(ranks.between().plan().buckets[0].reduction, Reduction::kSum);
  EXPECT_EQ(ranks.between().plan().buckets[1].reduction, Reduction::kBroadcast);
}

TEST(HierarchicalExchange, IsBetweenHostsWithOneBucketWhileTheNextIsSummed) {
  OneHost ranks({kFloats, kFloats});
  ASSERT_TRUE(ranks.leader().start({7, 1}, 0));
  EXPECT_THAT(ranks.between().starts, IsEmpty()) << "the other rank's input is not there";
  ASSERT_TRUE(ranks.other().start({7, 1}, 0));
  ASSERT_TRUE(ranks.leader().poll());
  EXPECT_THAT(ranks.between().starts, ElementsAre(0));
  EXPECT_EQ(ranks.between().ids.front().step, 7u);
  EXPECT_EQ(ranks.between().ids.front().index, 1u);
  ASSERT_TRUE(ranks.other().start({7, 1}, 1));
  ASSERT_TRUE(ranks.leader().start({7, 1}, 1));
  EXPECT_THAT(ranks.between().starts, ElementsAre(0, 1));
}

TEST(HierarchicalExchange, KeepsThePlansOrderBetweenHosts) {
  OneHost ranks({kFloats, {DType::kInt64, Reduction::kBroadcast, 3}});
  ASSERT_TRUE(ranks.leader().start({1, 0}, 0));
  ASSERT_TRUE(ranks.leader().start({1, 0}, 1));
  EXPECT_THAT(ranks.between().starts, IsEmpty()) << "the broadcast needs nobody, but its turn has not come";
  ASSERT_TRUE(ranks.other().start({1, 0}, 0));
  ASSERT_TRUE(ranks.leader().poll());
  EXPECT_THAT(ranks.between().starts, ElementsAre(0, 1));
}

TEST(HierarchicalExchange, PollsBetweenHostsWhileItWaitsForItsOwn) {
  OneHost ranks({kFloats, kFloats});
  ASSERT_TRUE(ranks.leader().start({1, 0}, 0));
  ASSERT_TRUE(ranks.other().start({1, 0}, 0));
  ASSERT_TRUE(ranks.leader().start({1, 0}, 1));
  std::binary_semaphore polled(0);
  ranks.between().on_poll = [&, left = 3]() mutable {
    if (--left == 0) polled.release();
  };
  std::jthread other([&] {
    ASSERT_TRUE(polled.try_acquire_for(20s)) << "the leader sleeps";
    ASSERT_TRUE(ranks.other().start({1, 0}, 1));
    ASSERT_TRUE(ranks.other().finish(ranks.in(20s)));
  });
  EXPECT_TRUE(ranks.leader().finish(ranks.in(20s)));
}

TEST(HierarchicalExchange, NamesWhoIsMissingWhereThatIsKnown) {
  World world({2, 2});
  std::vector<Failure> failures(world.size());
  std::atomic<int> ended = 0;
  std::vector<int> place(world.size());
  const Deadline opened = world.in(20s);
  std::latch all_open(static_cast<std::ptrdiff_t>(world.size()));
  world.run([&](std::size_t rank, HierarchicalExchange& exchange) {
    const Memory memory = open(exchange, {kFloats}, opened);
    all_open.arrive_and_wait();
    if (rank == 1) return;  // this one never starts
    ASSERT_TRUE(exchange.start({12, 0}, 0));
    const auto waited = exchange.finish(world.in(100ms));
    ASSERT_FALSE(waited);
    place[rank] = ended++;
    failures[rank] = waited.error();
  });
  EXPECT_EQ(place[0], 0) << "the others waited a moment longer";
  EXPECT_EQ(failures[0].code, Errc::kTimeout);
  EXPECT_THAT(failures[0].text(), AllOf(HasSubstr("host0"), HasSubstr("step 12"), HasSubstr("bucket 0"),
                                        HasSubstr("in vain for local rank 1")));
  EXPECT_EQ(failures[2].code, Errc::kTimeout);
  EXPECT_THAT(failures[2].text(),
              AllOf(HasSubstr("exchange shm+test, where rank i is the first rank of host i"), HasSubstr("bucket 0")));
  EXPECT_THAT(failures[3].text(), AllOf(HasSubstr("host1"), HasSubstr("in vain for local rank 0")));
}

TEST(HierarchicalExchange, EndsEveryWaitWithTheCauseOfAnAbort) {
  World world({2, 2});
  std::latch all_open(static_cast<std::ptrdiff_t>(world.size()));
  world.run([&](std::size_t rank, HierarchicalExchange& exchange) {
    const Memory memory = open(exchange, {kFloats}, world.in(20s));
    all_open.arrive_and_wait();
    if (rank == 3) {  // the others wait for its sum, for the other host, and for the leader
      for (std::size_t i = 0; i < world.size(); ++i) world[i].abort(fail(Errc::kPeerLost, "rank 3 was killed"));
      return;
    }
    const auto started = exchange.start({1, 0}, 0);
    const auto finished = started ? exchange.finish(world.in(20s)) : started;
    ASSERT_FALSE(finished);
    EXPECT_EQ(finished.error().text(), "rank 3 was killed");
    EXPECT_EQ(exchange.poll().error().code, Errc::kPeerLost);
    EXPECT_EQ(exchange.start({2, 0}, 0).error().code, Errc::kPeerLost);
  });
}

TEST(HierarchicalExchange, PassesAnAbortOnAndAFailureBetweenHostsBack) {
  OneHost ranks({kFloats});
  ASSERT_TRUE(ranks.other().start({1, 0}, 0));
  ranks.between().fail_start = true;
  const auto failed = ranks.leader().start({1, 0}, 0);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, Errc::kPeerLost);
  EXPECT_THAT(failed.error().text(), HasSubstr("rank 1 was lost"));
  ranks.leader().abort(failed.error());
  EXPECT_EQ(ranks.between().aborts, 1);
}

TEST(HierarchicalExchange, RefusesAnAverageOfIntegers) {
  Host host(1, "here");
  ExchangePlan plan;
  plan.buckets = {{DType::kInt32, Reduction::kAverage, 4}};
  EXPECT_EQ(host.rank(0, 1)->place(plan, host.in(20s)).error().code, Errc::kUsage);
}

}  // namespace
}  // namespace tutti::worker
